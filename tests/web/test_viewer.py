"""Looking into results over HTTP.

Pages, JSON, whom they are for, and what stands in a table.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from astropy.io import fits
from lxml import html

from tests.server import Server

HEADER = "X-Auth-Request-User"
ALICE, BOB = {HEADER: "alice"}, {HEADER: "bob"}
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
EVIL = "<script>alert(1)</script>"
ROWS = 250
TABLE = f'name,ra,dec,"{EVIL}",flux\n' + "".join(
    f"{EVIL if number == 3 else number},{number * 360 / ROWS},{number / 5 - 25},{number % 4},{number / 7}\n"
    for number in range(ROWS)
)
VIEWS = ("view", "rows", "overview", "sky", "picture")


def image() -> bytes:
    """Return a FITS image."""
    buffer = io.BytesIO()
    fits.PrimaryHDU(np.arange(12_000.0).reshape(100, 120)).writeto(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Yield a client of a service that gives files back."""
    settings = {"UWS_APPLICATIONS": f'["{Path(__file__).parent / "files.yaml"}"]', "UWS_IDENTITY_HEADER": HEADER}
    server = Server(tmp_path_factory.mktemp("viewer"), settings)
    server.start()
    with httpx2.Client(base_url=server.url, timeout=120) as client:
        yield client
    server.stop()


@pytest.fixture(scope="module")
def job(http: httpx2.Client) -> str:
    """Return a job of alice with a table and an image."""
    files = {"TABLE": ("t.csv", TABLE.encode(), "text/csv"), "IMAGE": ("i.fits", image(), "application/fits")}
    made = http.post("/files/async", data={"PHASE": "RUN"}, files=files, headers=ALICE)
    url = str(made.headers["location"])
    deadline = time.monotonic() + 120
    while (phase := http.get(f"{url}/phase", params={"WAIT": "5"}, headers=ALICE).text) not in ("COMPLETED", "ERROR"):
        assert time.monotonic() < deadline, phase
        time.sleep(0.05)
    assert phase == "COMPLETED", http.get(url, headers=ALICE).text
    return url


def page(http: httpx2.Client, url: str, **query: str) -> Any:
    """Return a page that a browser gets."""
    answer = http.get(url, params=query or None, headers={**BROWSER, **ALICE})
    assert answer.status_code == 200, answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    return html.document_fromstring(answer.text)


def test_rows_for_programs(http: httpx2.Client, job: str) -> None:
    """OFFSET, LIMIT, SORT and DESC; numbers are numbers."""
    url = f"{job}/results/table.csv/rows"
    content = http.get(url, params={"OFFSET": "248", "LIMIT": "5"}, headers=ALICE).json()
    assert content["count"] == ROWS and [row[2] for row in content["rows"]] == pytest.approx([24.6, 24.8])
    assert [column["name"] for column in content["columns"]] == ["name", "ra", "dec", EVIL, "flux"]
    content = http.get(url, params={"SORT": "flux", "DESC": "1", "LIMIT": "1"}, headers=ALICE).json()
    assert content["rows"][0][0] == "249"
    for query, words in (
        ({"OFFSET": "-1"}, "OFFSET must be a number"),
        ({"LIMIT": "1001"}, "from 1 to 1000"),
        ({"LIMIT": "٣"}, "LIMIT must be"),
        ({"SORT": "colour"}, "no column 'colour'"),
    ):
        refused = http.get(url, params=query, headers=ALICE)
        assert refused.status_code == 400 and words in refused.text


def test_the_overview_for_programs(http: httpx2.Client, job: str) -> None:
    """Its positions are found by the names of the columns."""
    content = http.get(f"{job}/results/table.csv/overview", headers=ALICE).json()
    assert (content["count"], content["located"]) == (ROWS, ROWS)
    assert len(content["sample"][0]) == ROWS
    listed = http.get(f"{job}/results/table.csv/view", headers=ALICE).json()
    assert listed["table"] and listed["rows"] == f"{job}/results/table.csv/rows" and "picture" not in listed
    sky = http.get(f"{job}/results/table.csv/sky", headers=ALICE)
    assert sky.headers["content-type"] == "image/svg+xml" and "sandbox" in sky.headers["content-security-policy"]


def test_pages_of_a_table(http: httpx2.Client, job: str) -> None:
    """Links lead through all rows; a header sorts, and once more the other way round."""
    url, names = f"{job}/results/table.csv/view", []
    while url:
        document = page(http, url)
        names += document.xpath("//tbody/tr/td[2]/text()")
        following = document.xpath("//nav[@aria-label='Pages of rows']/a[.='Next']/@href")
        url = following[0] if following else ""
    assert len(names) == ROWS == len(set(names))
    (link,) = page(http, f"{job}/results/table.csv/view").xpath("//thead//a[starts-with(., 'flux')]/@href")
    document = page(http, link)
    assert document.xpath("//th[@aria-sort='ascending']") and document.xpath("//tbody/tr[1]/td[5]/text()") == ["0"]
    (link,) = document.xpath("//thead//a[starts-with(., 'flux')]/@href")
    assert page(http, link).xpath("//th[@aria-sort='descending']")


def test_markup_in_a_table_is_text(http: httpx2.Client, job: str) -> None:
    """Neither a value nor the name of a column becomes part of a page or a picture."""
    for query in ({}, {"VIEW": "plot", "X": EVIL, "Y": "flux"}, {"VIEW": "sky"}):
        document = page(http, f"{job}/results/table.csv/view", **query)
        sources = [script.get("src") for script in document.iter("script")]
        assert [str(source).rpartition("/static/")[2] for source in sources] == ["viewer.js", "page.js"]
    assert document.xpath("//figure[@class='sky']//*[local-name()='circle']")
    plot = page(http, f"{job}/results/table.csv/view", VIEW="plot", X=EVIL, Y="flux")
    assert EVIL in "".join(plot.xpath("//figure//*[local-name()='text']/text()"))


def test_images(http: httpx2.Client, job: str) -> None:
    """A FITS image has a picture and no rows."""
    url = f"{job}/results/image.fits"
    assert page(http, f"{url}/view").xpath("//figure[@class='picture']/img/@src") == [f"{url}/picture"]
    picture = http.get(f"{url}/picture", headers=ALICE)
    assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    assert http.get(f"{url}/rows", headers=ALICE).status_code == 400
    assert http.get(f"{url}/view?VIEW=sky", headers={**BROWSER, **ALICE}).status_code == 400
    assert http.get(f"{job}/results/table.csv/picture", headers=ALICE).status_code == 404


@pytest.mark.parametrize("name", VIEWS)
def test_results_of_others(http: httpx2.Client, job: str, name: str) -> None:
    """They can't be looked into, as they can't be downloaded."""
    for caller in (BOB, {}):
        for result in ("table.csv", "image.fits", "absent"):
            refused = http.get(f"{job}/results/{result}/{name}", headers=caller)
            assert refused.status_code == http.get(f"{job}/results/{result}", headers=caller).status_code == 403
    assert http.get(f"{job}/results/absent/{name}", headers=ALICE).status_code == 404


def test_the_job_page_leads_to_them(http: httpx2.Client, job: str) -> None:
    document: Any = html.document_fromstring(http.get(job, headers={**BROWSER, **ALICE}).text)
    links = document.xpath("//a/@href")
    for link in ("table.csv/view", "table.csv/view?VIEW=plot", "table.csv/view?VIEW=sky", "image.fits/view"):
        assert f"{job}/results/{link}" in links


def test_documents_for_programs_stay_as_they_are(http: httpx2.Client, job: str) -> None:
    """Only a browser gets a page: `*/*`, XML, Java's list and no header at all get the document."""
    java = "text/html, image/gif, image/jpeg, */*; q=.2"
    for path in (
        f"{job}/results",
        "/tap/capabilities",
        "/tap/availability",
        "/tap/tables",
        "/tap/tables/openngc.objects",
    ):
        for accept in ("*/*", "text/xml", "application/xml", java, None):
            headers = dict(ALICE, **({"accept": accept} if accept else {}))
            answer = http.get(path, headers=headers)
            assert answer.headers["content-type"].startswith("text/xml"), (path, accept)
            assert answer.content.startswith(b"<?xml")
        answer = http.get(path, headers={**BROWSER, **ALICE})
        assert answer.headers["content-type"].startswith("text/html") and "accept" in answer.headers["vary"].lower()
        document: Any = html.document_fromstring(answer.text)
        assert len(document.xpath("//h1")) == 1
    answer = http.get("/tap/examples", headers={"accept": "*/*"})
    assert answer.headers["content-type"].startswith("application/xhtml+xml") and b'typeof="example"' in answer.content
    assert http.get("/tap/examples", headers=BROWSER).headers["content-type"].startswith("text/html")
    assert len(http.get("/tap/tables", headers={"accept": "application/json"}).json()["tables"]) > 2
