"""Pages of a query: rows, positions, clickable examples."""

from __future__ import annotations

from typing import Any

import requests
from lxml import etree

from tests.server import Server
from tests.tap.test_service import finished, job
from uws_service.tap.preview_read import parse_preview
from uws_service.tap.sky import sky_svg

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def page(url: str) -> Any:
    answer = requests.get(url, headers=BROWSER, timeout=180)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    return etree.HTML(answer.content)


def test_rows_and_sky(server: Server) -> None:
    """First rows with units, and a dot per position.

    A query without positions has a table alone.
    """
    url = job(server, "SELECT TOP 30 name, ra, dec FROM openngc.objects WHERE type = 'Galaxy'")
    assert finished(url) == "COMPLETED"
    document = page(url)
    (table,) = document.xpath("//section[@aria-labelledby='preview']//table")
    assert [text.strip() for text in table.xpath(".//th/text()")] == ["name", "ra (deg)", "dec (deg)"]
    assert len(table.xpath(".//tbody/tr")) == 20 and "20 of 30 rows" in table.xpath("string(caption)")
    assert len(document.xpath("//figure[@class='sky']//circle")) >= 30
    assert "All its 30 positions on the sky" in document.xpath("string(//figure[@class='sky']/figcaption)")
    url = job(server, "SELECT COUNT(*) AS n FROM openngc.objects")
    assert finished(url) == "COMPLETED"
    assert page(url).xpath("//section[@aria-labelledby='preview']//td/text()") == ["13371"]
    assert not page(url).xpath("//figure[@class='sky']")


def test_the_sky_of_a_large_result_is_that_of_all_rows(server: Server) -> None:
    """A sorted result's dots cover the sky; the caption says sample."""
    url = job(server, "SELECT name, ra, dec FROM openngc.objects ORDER BY ra")
    assert finished(url) == "COMPLETED"
    (figure,) = page(url).xpath("//figure[@class='sky']")
    caption = " ".join(figure.xpath("string(figcaption)").split())
    assert caption.startswith("2000 of its 13") and "drawn at random from all rows" in caption
    dots = [(float(circle.get("cx")), float(circle.get("cy"))) for circle in figure.xpath(".//circle")]
    quarters = [(x < 360, y < 180) for x, y in dots]
    assert all(quarters.count(quarter) > 200 for quarter in set(quarters)) and len(set(quarters)) == 4


def test_markup_in_a_result_is_text(server: Server) -> None:
    """A value can't become part of the page."""
    url = job(server, "SELECT TOP 1 '<script>alert(1)</script>' AS a, name AS \"<b>\" FROM openngc.objects")
    assert finished(url) == "COMPLETED"
    assert not page(url).xpath("//script[not(@src)] | //td//b | //th//b")


def test_examples_can_be_clicked(server: Server) -> None:
    """Each example without uploads has a button."""
    root = etree.fromstring(requests.get(f"{server.url}/tap/examples", timeout=180).content)
    forms = list(root.iter("{*}form"))
    assert len(forms) == 3
    form = forms[1]
    data = {element.get("name"): element.get("value") for element in form.iter("{*}input")}
    data |= {element.get("name"): element.get("value") for element in form.iter("{*}button")}
    created = requests.post(form.get("action", ""), data=data, timeout=180, allow_redirects=False)
    assert created.status_code == 303 and finished(created.headers["location"]) == "COMPLETED"


def test_the_form_has_room_for_a_query(server: Server) -> None:
    """QUERY is a text area; REQUEST is left out."""
    document = page(f"{server.url}/tap/new")
    assert len(document.xpath("//form//textarea[@name='QUERY']")) == 1 and not document.xpath(
        "//form//*[@name='REQUEST']"
    )


def test_sky() -> None:
    """A region is drawn around its middle, also at the pole."""
    assert sky_svg([]) == ""
    for middle in ((0.0, 0.0), (10.0, 90.0), (359.99, -89.99)):
        near = [(middle[0] + step, max(-90.0, min(90.0, middle[1] - step / 100))) for step in (0.0, 0.01, 0.02)]
        svg = etree.fromstring(sky_svg([(lon % 360, lat) for lon, lat in near]))
        assert svg.get("viewBox") == "0 0 360 360"
        for dot in svg.iter("{*}circle"):
            assert 0 <= float(dot.get("cx", "")) <= 360 and 0 <= float(dot.get("cy", "")) <= 360
    assert etree.fromstring(sky_svg([(0.0, 0.0), (180.0, 0.0), (90.0, 89.0)])).get("viewBox") == "0 0 720 360"
    for content in (b"", b"[]", b"{}", b'{"positions": [["x", 1]], "columns": [], "rows": [], "count": 1}'):
        assert parse_preview(content) is None
