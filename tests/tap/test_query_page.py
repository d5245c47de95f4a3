"""The query page without a script.

A form whose answer is the same page, and a job when it takes long.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from lxml import html

from tests.server import Server
from tests.tap.test_service import finished

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SLOW = (
    "SELECT COUNT(*) AS n FROM openngc.objects AS a, openngc.objects AS b, openngc.objects AS c "
    "WHERE a.ra * b.dec + c.ra > a.dec * c.dec"
)


def send(server: Server, query: str, files: Any = None, **fields: str) -> requests.Response:
    """Send the page's form as a browser does."""
    return requests.post(
        f"{server.url}/tap/query",
        data={"QUERY": query, **fields},
        files=files,
        headers=BROWSER,
        timeout=180,
        allow_redirects=False,
    )


def document(answer: requests.Response) -> Any:
    """Return an answer as a page."""
    assert answer.headers["content-type"].startswith("text/html")
    return html.document_fromstring(answer.content)


def test_the_page_has_tables_with_units_and_ucds(server: Server) -> None:
    """Each column says how a query writes it; examples and tables lead to queries."""
    tree = document(requests.get(f"{server.url}/tap/query?QUERY=SELECT+1", headers=BROWSER, timeout=60))
    assert tree.xpath("string(//textarea[@name='QUERY'])") == "SELECT 1"
    (entry,) = tree.xpath("//details[contains(@data-words, 'openngc.objects')]//li[code='ra']")
    assert "deg" in entry.text_content() and "pos.eq.ra;meta.main" in entry.text_content()
    assert tree.xpath("//code[@data-insert]") and tree.xpath("//a[contains(@href, 'QUERY=SELECT+TOP+100')]")


def test_a_result_is_in_the_page(server: Server) -> None:
    """Rows, a plot and the sky; the query stays in its field."""
    query = "SELECT TOP 3 name, ra, dec, bmag, vmag FROM openngc.objects WHERE vmag < 8 AND bmag < 9"
    tree = document(send(server, query))
    assert tree.xpath("string(//textarea[@name='QUERY'])") == query
    assert tree.xpath("string(//h2[@id='answer-title'])") == "3 rows"
    assert len(tree.xpath("//section[@data-tab='Table']//tbody/tr")) == 3
    assert len(tree.xpath("//section[@data-tab='Plot']//*[local-name()='circle']")) == 3
    assert "All 3 positions" in tree.xpath("string(//section[@data-tab='Sky'])")
    tree = document(send(server, query, X="ra", Y="dec"))
    assert tree.xpath("string(//select[@name='Y']/option[@selected])") == "dec"


def test_a_large_result_is_told_by_all_of_it(server: Server) -> None:
    """The sky has every row, the plot a sample of all, and a limit of rows is told."""
    answers = (send(server, "SELECT * FROM openngc.objects ORDER BY ra") for _ in range(10))
    # On a busy machine the first one becomes a job: a process loads late what counts cells.
    tree = document(next(answer for answer in answers if answer.status_code == 200))
    words = tree.xpath("string(//section[@data-tab='Sky']//figcaption)")
    assert words.startswith("All 13,371 positions, counted in ")
    assert "drawn at random from all 13,371" in tree.xpath("string(//section[@data-tab='Plot'])")
    tree = document(send(server, "SELECT * FROM openngc.objects", MAXREC="5"))
    assert "there are more" in tree.xpath("string(//h2[@id='answer-title'])")


def test_a_mistake_is_told_beside_the_query(server: Server) -> None:
    """Its place too, for the mark in the editor; what was written stays."""
    answer = send(server, "SELECT nme\nFROM openngc.objects", MAXREC="7")
    assert answer.status_code == 400
    tree = document(answer)
    (fault,) = tree.xpath("//section[@id='query-error']")
    assert (fault.get("data-line"), fault.get("data-column")) == (
        "1",
        "8",
    ) and "Did you mean name?" in fault.text_content()
    assert tree.xpath("//input[@name='MAXREC']/@value") == ["7"]
    assert "SELECT nme" in tree.xpath("string(//textarea)")


def uploads_of(server: Server) -> set[Path]:
    """Return the files that were sent to the service and are there still."""
    return {path for path in (server.folder / "data").rglob("uploads/*") if path.is_file()}


def test_own_tables_are_files_with_names(server: Server) -> None:
    """Nobody types ``table1,param:file1``; nothing of them stays when no job is made."""
    files = {
        "FILE1": ("stars.csv", b"name,ra\na,1.5\nb,2.5\n", "text/csv"),
        "FILE2": ("", b"", "application/octet-stream"),
    }
    before = uploads_of(server)
    answer = send(server, "SELECT name FROM TAP_UPLOAD.mine ORDER BY ra DESC", files, NAME1="mine")
    assert document(answer).xpath("//section[@data-tab='Table']//tbody/tr/td[1]/text()") == ["b", "a"]
    assert uploads_of(server) <= before
    answer = send(server, "SELECT COUNT(*) AS n FROM TAP_UPLOAD.table1", files, ACTION="SAVE")
    assert answer.status_code == 303 and finished(answer.headers["location"]) == "COMPLETED"


def test_a_query_that_takes_long_becomes_a_job(server: Server) -> None:
    """The answer leads to it, and it is among the caller's jobs."""
    answer = send(server, SLOW)
    assert answer.status_code == 303, answer.text
    job = answer.headers["location"]
    assert requests.get(f"{job}/phase", timeout=60).text in ("QUEUED", "EXECUTING", "COMPLETED")
    requests.post(f"{job}/phase", data={"PHASE": "ABORT"}, timeout=60)
    tree = document(requests.get(f"{server.url}/tap/query", headers=BROWSER, timeout=60))
    assert tree.xpath(f"//a[@href='{job}']") and SLOW in tree.xpath("//ul[contains(@class, 'history')]//a/@data-query")


def test_programs_get_json(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/tap/query", data={"QUERY": "SELECT TOP 2 name FROM openngc.objects"}, timeout=60
    )
    content = answer.json()
    assert content["count"] == 2 and [column["name"] for column in content["columns"]] == ["name"]
    wrong = requests.post(f"{server.url}/tap/query", data={"QUERY": "SELECT"}, timeout=60)
    assert wrong.status_code == 400 and "Line 1, column 7" in wrong.text


def test_pages_of_others_can_not_run_queries(server: Server) -> None:
    refused = requests.post(
        f"{server.url}/tap/query", data={"QUERY": "SELECT 1"}, headers={"Sec-Fetch-Site": "cross-site"}, timeout=60
    )
    assert refused.status_code == 403
    assert requests.get(f"{server.url}/sleep/query", headers=BROWSER, timeout=60).status_code == 404


def test_the_catalogue_can_be_browsed(server: Server) -> None:
    """Tables with their columns, some rows, and a query to begin with."""
    tree = document(requests.get(f"{server.url}/tap/tables", headers=BROWSER, timeout=60))
    (link,) = tree.xpath("//th/a[.='objects']/@href")
    tree = document(requests.get(link, headers=BROWSER, timeout=60))
    assert "mag/arcsec**2" in tree.text_content()
    assert len(tree.xpath("//section[@aria-labelledby='sample']//tbody/tr")) == 5
    assert tree.xpath("//a[.='Query this']/@href")[0].endswith("SELECT+TOP+100+%2A%0AFROM+openngc.objects")
    missing = requests.get(f"{server.url}/tap/tables/no.such", headers=BROWSER, timeout=60)
    assert missing.status_code == 404
