"""pyvo against a running service (C-02…C-10, C-34)."""

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
    """Create a job as pyvo does, and give it to pyvo."""
    answer = requests.post(f"{server.url}/{application}/async", data=parameters, timeout=180)
    assert answer.status_code == 200 and len(answer.history) == 1
    return AsyncTAPJob(answer.url)  # C-07: the URL after the redirect


def test_life(server: Server) -> None:
    """C-04, C-08, U-105: run, wait, result, delete."""
    pyvo_job = job(server, SECONDS="1", OUTPUT="64")
    assert pyvo_job.phase == "PENDING" and pyvo_job.owner is None
    pyvo_job.run()
    assert pyvo_job.phase != "PENDING"
    pyvo_job.wait(timeout=240)
    pyvo_job.raise_if_error()
    assert pyvo_job.phase == "COMPLETED"
    assert pyvo_job.result_uri == f"{pyvo_job.url}/results/result"  # C-10
    assert len(requests.get(pyvo_job.result_uri, timeout=180).content) == 64
    assert pyvo_job.result_uris == [pyvo_job.result_uri]
    url = pyvo_job.url
    pyvo_job.delete()
    assert requests.get(url, timeout=180).status_code == 404


def test_setters(server: Server) -> None:
    """C-09, T-005: duration and destruction as pyvo writes."""
    pyvo_job = job(server)
    pyvo_job.execution_duration = 12
    assert pyvo_job.execution_duration.to_value("s") == 12
    expected = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(hours=1)
    pyvo_job.destruction = expected
    assert pyvo_job.destruction.to_datetime(timezone=UTC).replace(tzinfo=None) == expected
    assert pyvo_job.quote is not None


def test_failure_is_told(server: Server) -> None:
    """C-34: pyvo raises errorSummary's message."""
    pyvo_job = job(server, EXIT="9")
    pyvo_job.run().wait(timeout=240)
    assert pyvo_job.phase == "ERROR"
    with pytest.raises(DALQueryError, match="9"):
        pyvo_job.raise_if_error()


def test_abort(server: Server) -> None:
    """U-107: from the client that people use."""
    pyvo_job = job(server, SECONDS="60")
    pyvo_job.run()
    pyvo_job.abort()
    assert pyvo_job.phase == "ABORTED"


def test_refusal_is_readable(server: Server) -> None:
    """An error's text reaches the user."""
    pyvo_job = job(server)
    pyvo_job.run().wait(timeout=240)
    with pytest.raises(DALServiceError, match="RUN is not possible"):
        pyvo_job.run()


def test_list(server: Server) -> None:
    """C-09: filters as pyvo sends them."""
    pyvo_job = job(server)
    query = {"PHASE": ["PENDING", "ABORTED"], "LAST": "3", "AFTER": "2020-01-01T00:00:00.000000Z"}
    answer = requests.get(f"{server.url}/probe/async", params=query, stream=True, timeout=180)
    listed = list(parse_job_list(answer.raw.read))
    assert listed[0].jobid == pyvo_job.job_id and 1 <= len(listed) <= 3


def test_crossmatch_with_upload(server: Server) -> None:
    """C-09, C-17: multipart; the result has units."""
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
    pyvo_job = AsyncTAPJob(answer.url)
    pyvo_job.run().wait(timeout=240)
    pyvo_job.raise_if_error()
    matched = parse_single_table(BytesIO(requests.get(pyvo_job.result_uri, timeout=180).content)).to_table()
    assert len(matched) == 2
    text = " ".join(str(value) for row in matched for value in row)
    assert "NGC0224" in text.replace(" ", "") and "NGC0598" in text.replace(" ", "")


def test_astroquery_reads_our_documents(server: Server) -> None:
    """C-01, C-18: TapPlus wants the prefixes exactly."""
    from io import BytesIO

    from astroquery.utils.tap.xmlparser.jobListSaxParser import JobListSaxParser
    from astroquery.utils.tap.xmlparser.jobSaxParser import JobSaxParser

    pyvo_job = job(server, SECONDS="0", PHASE="RUN", RUNID="mine")
    pyvo_job.wait(timeout=240)
    (parsed,) = JobSaxParser(async_job=True).parseData(BytesIO(requests.get(pyvo_job.url, timeout=180).content))
    assert parsed.jobid == pyvo_job.job_id and parsed.get_phase() == "COMPLETED"
    listed = JobListSaxParser(async_job=True).parseData(
        BytesIO(requests.get(f"{server.url}/probe/async?LAST=1", timeout=180).content)
    )
    assert [entry.jobid for entry in listed] == [pyvo_job.job_id]


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
