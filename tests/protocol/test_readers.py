"""Our documents read by independent programs.

pyvo, astroquery, and STILTS with the IVOA's own schemas.
"""

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
    """C-02, C-03, C-10: all that pyvo shows."""
    read = pyvo_uws.parse_job(BytesIO(document(FULL)))
    assert read.jobid == FULL.id and read.phase == "ERROR" and read.version == "1.1"
    assert read.runid == FULL.run_id and read.ownerid == FULL.owner
    assert read.executionduration.value == FULL.duration
    for read_instant, instant in (
        (read.creationtime, FULL.created),
        (read.starttime, FULL.started),
        (read.endtime, FULL.ended),
        (read.destruction, FULL.destruction),
        (read.quote, FULL.quote),
    ):
        assert round(read_instant.unix * 1000) == instant  # U-008
    assert [(item.id_, item.content) for item in read.parameters][:2] == [
        (item.name, item.value) for item in FULL.parameters[:2]
    ]
    assert [item.href for item in read.results] == [URLS.result(FULL.id, item.id) for item in FULL.results]
    assert [item.size for item in read.results] == [2048, 0]
    assert read.errorsummary.message.content == "exit code 3 <&>"


@settings(max_examples=30)
@given(jobs)
def test_pyvo_reads_any_job(job: Job) -> None:
    """C-03: pyvo stumbles over no document."""
    job = replace(job, created=abs(job.created), destruction=None, quote=None, started=None, ended=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy doubts dates far in the future
        assert pyvo_uws.parse_job(BytesIO(document(job))).jobid == job.id


def test_pyvo_reads_a_list() -> None:
    """U-050, U-061: ids, phases and creation times of all jobs."""
    read = list(pyvo_uws.parse_job_list(BytesIO(LIST)))
    assert [(item.jobid, item.phase, item.runid) for item in read] == [
        (item.id, item.phase, item.run_id) for item in REFS
    ]
    assert [round(item.creationtime.unix * 1000) for item in read] == [item.created for item in REFS]


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


def official(path: Path, document: bytes) -> str:
    """Return what STILTS finds wrong with a document."""
    path.write_bytes(document)
    command = [require("stilts"), "xsdvalidate", "uselocals=true", f"doc={path}"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    output = (process.stdout + process.stderr).strip()
    assert (process.returncode != 0) == bool(output), output
    return output


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
    """U-006: ours refuse what the standard's refuse."""
    good, bad = BROKEN[fault]
    document = next(item for item in (make() for make in VALID.values()) if good in item)
    validate(document)
    broken = document.replace(good, bad, 1)
    with pytest.raises(AssertionError, match="not valid"):
        validate(broken)
    assert official(tmp_path / "broken.xml", broken) != ""
