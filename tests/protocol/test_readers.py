"""Our documents read by independent programs: pyvo, astroquery, and STILTS with the IVOA's own schemas."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from pyvo.io import uws as pyvo_uws

from tests.protocol.samples import FULL, PENDING, URLS, document, jobs
from tests.protocol.test_vosi import APPLICATION
from tests.schemas import validate
from tests.tiers import require
from uws_service.domain.job import Job, JobRef, Phase
from uws_service.protocol import uws, vosi

REFS = [JobRef(str(number), phase, "a<b&c", None, number) for number, phase in enumerate(Phase)]
LIST = uws.jobs_open() + uws.jobrefs(REFS, URLS) + uws.jobs_close()


def test_pyvo_reads_a_job() -> None:
    """C-02, C-03, C-10: all that pyvo shows of a job, from a job that has everything."""
    read = pyvo_uws.parse_job(BytesIO(document(FULL)))
    assert read.jobid == FULL.id and read.phase == "ERROR" and read.version == "1.1"
    assert read.runid == FULL.run_id and read.ownerid == FULL.owner
    assert read.executionduration.value == FULL.duration
    for theirs, ours in (
        (read.creationtime, FULL.created),
        (read.starttime, FULL.started),
        (read.endtime, FULL.ended),
        (read.destruction, FULL.destruction),
        (read.quote, FULL.quote),
    ):
        assert round(theirs.unix * 1000) == ours  # U-008
    assert [(one.id_, one.content) for one in read.parameters][:2] == [
        (one.name, one.value) for one in FULL.parameters[:2]
    ]
    assert [one.href for one in read.results] == [URLS.result(FULL.id, one.id) for one in FULL.results]
    assert [one.size for one in read.results] == [2048, 0]
    assert read.errorsummary.message.content == "exit code 3 <&>"


@settings(max_examples=30)
@given(jobs)
def test_pyvo_reads_any_job(job: Job) -> None:
    """C-03: no document that we can make is one that pyvo stumbles over."""
    job = replace(job, created=abs(job.created), destruction=None, quote=None, started=None, ended=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy doubts dates far in the future
        assert pyvo_uws.parse_job(BytesIO(document(job))).jobid == job.id


def test_pyvo_reads_a_list() -> None:
    """U-050, U-061: ids, phases and creation times of all jobs."""
    read = list(pyvo_uws.parse_job_list(BytesIO(LIST)))
    assert [(one.jobid, one.phase, one.runid) for one in read] == [(one.id, one.phase, one.run_id) for one in REFS]
    assert [round(one.creationtime.unix * 1000) for one in read] == [one.created for one in REFS]


def test_astroquery_reads_a_job() -> None:
    """C-01: a reader that compares the names with their prefixes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astroquery's import warns about its configuration
        from astroquery.utils.tap.xmlparser.jobSaxParser import JobSaxParser

    [read] = JobSaxParser(async_job=True).parseData(BytesIO(document(FULL)))
    assert read.jobid == FULL.id and read.get_phase() == "ERROR"
    assert read.runid == FULL.run_id and read.ownerid == FULL.owner
    assert read.creationTime == uws.format_instant(FULL.created)
    assert read.parameters["RADIUS"] == "2.5" and read.executionDuration == "3600"


# --- the IVOA's own schemas ---------------------------------------------------------------------------------------


def official(path: Path, made: bytes) -> str:
    """What STILTS says of a document, checked against the schemas that it carries; empty if it is valid."""
    path.write_bytes(made)
    command = [require("stilts"), "xsdvalidate", "uselocals=true", f"doc={path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    said = (done.stdout + done.stderr).strip()
    assert (done.returncode != 0) == bool(said), said
    return said


VALID: dict[str, Callable[[], bytes]] = {
    "full job": lambda: document(FULL),
    "pending job": lambda: document(PENDING),
    "list": lambda: LIST,
    "parameters": lambda: uws.parameters_xml(FULL, urls=URLS),
    "results": lambda: uws.results_xml(FULL, urls=URLS),
    "availability": lambda: vosi.availability_xml(False, up_since=FULL.created, notes=("down",)),
    "capabilities": lambda: vosi.capabilities_xml(APPLICATION, "https://h/cone"),
}


@pytest.mark.parametrize("name", VALID)
def test_our_documents_are_valid_by_the_official_schema(name: str, tmp_path: Path) -> None:
    """U-006, U-070, U-088, V-010, V-020: an independent checker with the standard's own schema."""
    assert official(tmp_path / "made.xml", VALID[name]()) == ""


BROKEN = {
    "order": (b"<uws:executionDuration>3600</uws:executionDuration>", b""),
    "phase": (b"<uws:phase>ERROR<", b"<uws:phase>error<"),
    "empty instant": (b'<uws:startTime xsi:nil="true"/>', b"<uws:startTime/>"),
    "result attribute": (b"mime-type=", b"media-type="),
    "error type": (b'type="fatal"', b'type="usage"'),
    "info": (b"<uws:jobInfo>", b"<uws:jobInfo>words"),
    "capability": (b'xsi:type="vs:ParamHTTP"', b'xsi:type="vs:ParamFTP"'),
    "parameter type": (b">double<", b">real<"),
    "available": (b">false<", b">no<"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_our_schemas_agree_with_the_official_ones(fault: str, tmp_path: Path) -> None:
    """U-006: what the standard's schema refuses, ours refuses too; so the many tests that use ours mean something."""
    good, bad = BROKEN[fault]
    made = next(one for one in (make() for make in VALID.values()) if good in one)
    validate(made)
    broken = made.replace(good, bad, 1)
    with pytest.raises(AssertionError, match="not valid"):
        validate(broken)
    assert official(tmp_path / "broken.xml", broken) != ""
