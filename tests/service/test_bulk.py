"""Tables of jobs, all or none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.client.test_cli import program
from tests.server import Server
from tests.service.client import Uws, text


@pytest.fixture
def uws(server: Server) -> Iterator[Uws]:
    with Uws(server.url, user="bulk") as client:
        yield client
        client.made += [ref.get("{http://www.w3.org/1999/xlink}href") for ref in client.listed()]


def post(uws: Uws, table: bytes | str, data: dict[str, str] | None = None, name: str = "TABLE", **kwargs: Any) -> str:
    """Return the response's Location, or its status and text."""
    answer = uws.post(f"{uws.base}/bulk", data, files={name: ("jobs.csv", table, "text/csv")}, **kwargs)
    return answer.headers["location"] if answer.status_code == 303 else f"{answer.status_code} {answer.text}"


def rows(uws: Uws, listed: str) -> dict[int, dict[str, Any]]:
    """Return the jobs of a list by row."""
    documents = [uws.get(ref["href"], headers={"accept": "application/json"}).json() for ref in
            uws.get(listed, headers={"accept": "application/json"}).json()["jobs"]]  # fmt: skip
    return {document["jobInfo"]["row"]: document for document in documents}


def test_a_job_for_each_row(uws: Uws) -> None:
    listed = post(uws, "SECONDS,exit\n0,0\n\n0,7\n", {"PHASE": "RUN", "TAG": "x & y"})
    assert "RUNID=bulk-" in listed
    jobs = rows(uws, listed)
    assert sorted(jobs) == [1, 2]
    for item in jobs.values():
        uws.wait(f"{uws.jobs}/{item['jobId']}")
    jobs = rows(uws, listed)
    assert (jobs[1]["phase"], jobs[2]["phase"]) == ("COMPLETED", "ERROR")
    parameters = {item["id"]: item["value"] for item in jobs[2]["parameters"]}
    assert parameters == {"TAG": "x & y", "SECONDS": "0", "EXIT": "7"}


def test_found_by_runid_alone(uws: Uws) -> None:
    """The list's filter joins the others (U-052)."""
    other_job = uws.create({"RUNID": "other"})
    listed = post(uws, "TAG\n1\n2\n3\n", {"RUNID": "mine & yours"})
    assert listed == f"{uws.jobs}?RUNID=mine%20%26%20yours"
    refs = uws.listed("?RUNID=mine%20%26%20yours")
    assert [text(ref, "runId") for ref in refs] == ["mine & yours"] * 3
    assert len(uws.listed("?RUNID=mine%20%26%20yours&LAST=2")) == 2
    assert not uws.listed("?RUNID=mine%20%26%20yours&PHASE=ERROR") and uws.phase(other_job) == "PENDING"


def test_a_thousand_and_one(uws: Uws) -> None:
    listed = post(uws, "TAG\n" + "\n".join(map(str, range(100))), {"RUNID": "many"})
    assert len(uws.listed(listed.removeprefix(uws.jobs))) == 100
    assert "more than the 100 rows" in post(uws, "TAG\n" + "\n".join(map(str, range(101))), {"RUNID": "more"})
    assert not uws.listed("?RUNID=more")


def test_repeated_request(uws: Uws) -> None:
    """An Idempotency-Key makes the same jobs once."""
    headers = {"Idempotency-Key": "table-1"}
    first = post(uws, "TAG\n1\n2\n", headers=headers)
    assert post(uws, "TAG\n1\n2\n", headers=headers) == first
    assert len(uws.listed(first.removeprefix(uws.jobs))) == 2
    assert "another request" in post(uws, "TAG\n1\n3\n", headers=headers)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "has no rows"),
        ("SECONDS\n", "has no rows"),
        ("COLOUR\nred\n", "'COLOUR' is no parameter"),
        ("SECONDS,seconds\n1,2\n", "more than once"),
        ("SECONDS\n1\nfast\n200\n", "row 2: "),
        ("SECONDS\nfast\nslow\n1,2\n", "row 3 has 2 cells"),
        ("SECONDS" + ",SECONDS" * 200_000 + "\n1\n", "more than once"),
        ("SECONDS,EXIT\n1\n", "row 1 has 1 cells"),
        ('SECONDS\n"1\n', "no CSV"),
        (b"SECONDS\n\xff\n", "not UTF-8"),
        ("TAG\n1\n", "column of the table and a parameter"),
    ],
)
def test_bad_tables(uws: Uws, table: str | bytes, words: str) -> None:
    """A wrong table creates nothing."""
    answer = post(uws, table, {"RUNID": "bad", "TAG": "also"})
    assert answer.startswith("400") and words in answer, answer
    assert not uws.listed("?RUNID=bad")


def test_tables_that_are_too_much(uws: Uws) -> None:
    """Common values count for each row."""
    answer = post(uws, "EXIT\n" + "0\n" * 100, {"RUNID": "large", "TAG": "x" * 1_000_000})
    assert answer.startswith("413") and "1000003 of each job" in answer
    assert not uws.listed("?RUNID=large")
    assert post(uws, b"x" * 3_000_000).startswith("413")


def test_a_large_table_stops_nobody(uws: Uws, server: Server) -> None:
    """A large table blocks no other request."""
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(post, uws, b"\n" * 1_900_000)
        slowest = 0.0
        while not reading.done():
            began = time.monotonic()
            assert httpx2.get(f"{server.url}/livez", timeout=180).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
    assert "has no rows" in reading.result()
    assert slowest < 5


def test_other_requests(uws: Uws, server: Server) -> None:
    assert "named TABLE" in post(uws, "TAG\n1\n", name="OTHER")
    assert uws.post(f"{uws.base}/bulk", {"PHASE": "RUN"}).status_code == 400
    assert uws.get(f"{uws.base}/bulk").status_code == 405
    with Uws(server.url, "crossmatch", user="bulk") as crossmatch:
        assert "takes no tables" in post(crossmatch, "RADIUS\n1\n")


def test_another_sees_nothing(uws: Uws, server: Server) -> None:
    """U-162: the RUNID opens nothing."""
    post(uws, "TAG\n1\n", {"RUNID": "private"})
    with Uws(server.url, user="eve") as eve:
        assert eve.listed("?RUNID=private") == []


def test_from_the_command_line(uws: Uws, server: Server, tmp_path: Path) -> None:
    """The command shows a bar and an exit code."""
    table = tmp_path / "jobs.csv"
    table.write_text("EXIT\n0\n0\n")
    arguments = [f"{uws.base}/async", str(table), "SECONDS=0", "--wait", "--header", "X-Auth-Request-User: bulk"]
    ended = program("bulk", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert "2 COMPLETED" in ended.stderr and len(uws.listed("?" + ended.stdout.strip().partition("?")[2])) == 2
    table.write_text("EXIT\n0\n9\n")
    assert "1 COMPLETED, 1 ERROR" in program("bulk", *arguments).stderr


def test_the_page_has_a_form(uws: Uws) -> None:
    page = uws.get(uws.base, headers={"accept": "text/html,application/xhtml+xml"}).text
    assert f'action="{uws.base}/bulk"' in page and "at most 100" in page
