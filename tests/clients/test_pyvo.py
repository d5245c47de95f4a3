"""pyvo against a running service: create, run, wait, results, uploads, filters, abort, delete (C-02…C-10, C-34)."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest
import requests
from pyvo.dal import AsyncTAPJob, DALQueryError, DALServiceError
from pyvo.io.uws import parse_job_list

from tests.server import Server


def job(server: Server, application: str = "probe", **parameters: str) -> AsyncTAPJob:
    """A new job; pyvo makes TAP jobs only, so it is created here as pyvo does it, and pyvo drives it."""
    answer = requests.post(f"{server.url}/{application}/async", data=parameters, timeout=180)
    assert answer.status_code == 200 and len(answer.history) == 1
    return AsyncTAPJob(answer.url)  # C-07: the URL after the redirect


def test_life(server: Server) -> None:
    """C-04, C-08, U-105: run, wait, result, delete."""
    one = job(server, SECONDS="1", OUTPUT="64")
    assert one.phase == "PENDING" and one.owner is None
    one.run()
    assert one.phase != "PENDING"
    one.wait(timeout=240)
    one.raise_if_error()
    assert one.phase == "COMPLETED"
    assert one.result_uri == f"{one.url}/results/result"  # C-10
    assert len(requests.get(one.result_uri, timeout=180).content) == 64
    assert one.result_uris == [one.result_uri]
    url = one.url
    one.delete()
    assert requests.get(url, timeout=180).status_code == 404


def test_setters(server: Server) -> None:
    """C-09, T-005: duration and destruction as pyvo writes them."""
    one = job(server)
    one.execution_duration = 12
    assert one.execution_duration.to_value("s") == 12
    wanted = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(hours=1)
    one.destruction = wanted
    assert one.destruction.to_datetime(timezone=UTC).replace(tzinfo=None) == wanted
    assert one.quote is not None


def test_failure_is_told(server: Server) -> None:
    """C-34: the message of errorSummary is what pyvo raises."""
    one = job(server, EXIT="9")
    one.run().wait(timeout=240)
    assert one.phase == "ERROR"
    with pytest.raises(DALQueryError, match="9"):
        one.raise_if_error()


def test_abort(server: Server) -> None:
    """U-107: from the client that people use."""
    one = job(server, SECONDS="60")
    one.run()
    one.abort()
    assert one.phase == "ABORTED"


def test_refusal_is_readable(server: Server) -> None:
    """The text of an error answer reaches the user."""
    one = job(server)
    one.run().wait(timeout=240)
    with pytest.raises(DALServiceError, match="RUN is not possible"):
        one.run()


def test_list(server: Server) -> None:
    """C-09: filters as pyvo sends them."""
    one = job(server)
    query = {"PHASE": ["PENDING", "ABORTED"], "LAST": "3", "AFTER": "2020-01-01T00:00:00.000000Z"}
    answer = requests.get(f"{server.url}/probe/async", params=query, stream=True, timeout=180)
    listed = list(parse_job_list(answer.raw.read))
    assert listed[0].jobid == one.job_id and 1 <= len(listed) <= 3


def test_crossmatch_with_upload(server: Server) -> None:
    """C-09, C-17: the multipart body of pyvo; the result is a table with units."""
    from io import BytesIO

    from astropy.io.votable import parse_single_table
    from astropy.table import Table

    table = Table({"name": ["M31", "M33"], "ra": [10.6847, 23.4621], "dec": [41.2687, 30.6599]})
    content = BytesIO()
    table.write(content, format="votable")
    answer = requests.post(
        f"{server.url}/crossmatch/async",
        data={"UPLOAD": "mine,param:mine", "RADIUS": "60"},
        files={"mine": content.getvalue()},
        timeout=30,
    )
    one = AsyncTAPJob(answer.url)
    one.run().wait(timeout=240)
    one.raise_if_error()
    matched = parse_single_table(BytesIO(requests.get(one.result_uri, timeout=180).content)).to_table()
    assert len(matched) == 2
    text = " ".join(str(value) for row in matched for value in row)
    assert "NGC0224" in text.replace(" ", "") and "NGC0598" in text.replace(" ", "")


def test_astroquery_reads_our_documents(server: Server) -> None:
    """C-01, C-18: the parser of TapPlus, which wants the prefixes to the letter."""
    from io import BytesIO

    from astroquery.utils.tap.xmlparser.jobListSaxParser import JobListSaxParser
    from astroquery.utils.tap.xmlparser.jobSaxParser import JobSaxParser

    one = job(server, SECONDS="0", PHASE="RUN", RUNID="mine")
    one.wait(timeout=240)
    (parsed,) = JobSaxParser(async_job=True).parseData(BytesIO(requests.get(one.url, timeout=180).content))
    assert parsed.jobid == one.job_id and parsed.get_phase() == "COMPLETED"
    listed = JobListSaxParser(async_job=True).parseData(
        BytesIO(requests.get(f"{server.url}/probe/async?LAST=1", timeout=180).content)
    )
    assert [entry.jobid for entry in listed] == [one.job_id]


def test_creation_and_polling_as_astroquery_does_it(server: Server) -> None:
    """C-18: PHASE=RUN in the creating POST, unknown parameters, Accept: text/plain, the id from Location, /phase."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = "REQUEST=doQuery&FORMAT=votable&tapclient=x&PHASE=RUN&jobname=j&SECONDS=0"
    headers = {"Content-type": "application/x-www-form-urlencoded", "Accept": "text/plain"}
    with closing(connection):
        connection.request("POST", "/probe/async", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 303
        location = answer.headers["Location"]
        name = location[location.rfind("/") + 1 :]
        phases: set[str] = set()
        while "COMPLETED" not in phases:
            connection.request("GET", f"/probe/async/{name}/phase")
            phases.add(connection.getresponse().read().decode())
            assert phases <= {"QUEUED", "EXECUTING", "COMPLETED"}
