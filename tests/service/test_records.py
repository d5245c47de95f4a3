"""jobInfo: unknown parameters, defaults, versions (D-022, U-087)."""

from __future__ import annotations

from tests.server import Server
from tests.service.client import Uws
from uws_service import __version__

INFO = "{urn:uws-service:jobinfo:1}"
GUESS = "SECNDS is no parameter here; did you mean SECONDS?"
JSON = {"accept": "application/json"}
PAGE = {"accept": "text/html,application/xhtml+xml"}


def notices(uws: Uws, job: str) -> list[str]:
    return [item.text or "" for item in uws.document(job).iter(f"{INFO}notice")]


def test_a_misspelt_parameter_is_noted_with_a_guess(uws: Uws) -> None:
    """Unknown parameters are reported, and the job runs."""
    job = uws.create({"SECNDS": "1", "SECONDS": "0", "PHASE": "RUN"})
    assert notices(uws, job) == [GUESS]
    assert uws.wait(job) == "COMPLETED"
    assert notices(uws, job) == [GUESS]
    assert uws.get(job, headers=JSON).json()["jobInfo"]["notices"] == [GUESS]
    page = uws.get(job, headers=PAGE).text
    assert "<h1>" in page and GUESS in page


def test_a_synchronous_answer_has_the_note_in_a_header(uws: Uws) -> None:
    """An answer that ignores a parameter says so: there is no job to look at."""
    for response in (
        uws.post(f"{uws.base}/sync", {"SECNDS": "1", "SECONDS": "0"}),
        uws.get(f"{uws.base}/sync?SECNDS=1&SECONDS=0"),
    ):
        assert response.status_code == 200 and response.headers["x-uws-note"] == GUESS
    assert "x-uws-note" not in uws.post(f"{uws.base}/sync", {"SECONDS": "0"}).headers


def test_a_pending_job_is_noted_and_mended(uws: Uws) -> None:
    """Later parameters are checked too."""
    job = uws.create({"SECONDS": "0"})
    assert notices(uws, job) == []
    uws.post(f"{job}/parameters", {"OUTPTU": "10"})
    assert notices(uws, job) == ["OUTPTU is no parameter here; did you mean OUTPUT?"]


def test_standard_parameters_and_parts_of_uploads_are_known(uws: Uws) -> None:
    names = ("REQUEST", "VERSION", "LANG", "MAXREC", "FORMAT", "SITE", "RUNID", "RESPONSEFORMAT")
    values = {"MAXREC": "5", "SITE": "local", "RESPONSEFORMAT": "application/octet-stream"}
    form = {name.lower(): values.get(name, "1") for name in names}
    job = uws.create({**form, "UPLOAD": "t1,param:part"}, files={"part": ("a.vot", b"<V/>", "text/xml")})
    assert notices(uws, job) == []
    job = uws.create({"zzz": "1"}, files={"lost": ("a.vot", b"<V/>", "text/xml")})
    assert notices(uws, job) == [
        "zzz is no parameter here; there are: SECONDS, EXIT, OUTPUT, TAG.",
        "The file lost is no parameter here, and no UPLOAD names it.",
    ]


def test_many_unknown_parameters_make_few_notes(uws: Uws) -> None:
    job = uws.create({f"p{number}": "x" for number in range(50)} | {"q" * 256: "1"})
    sentences = notices(uws, job)
    assert len(sentences) == 11 and sentences[-1] == "41 more parameters are unknown here."


def test_the_defaults_and_versions_of_a_run_are_recorded(uws: Uws) -> None:
    job = uws.create({"EXIT": "0", "TAG": "a", "PHASE": "RUN"})
    assert uws.wait(job) == "COMPLETED"
    document = uws.document(job)
    assert {item.get("name"): item.text for item in document.iter(f"{INFO}default")} == {
        "SECONDS": "0",
        "OUTPUT": "10",
    }
    versions = {item.get("of"): item.text for item in document.iter(f"{INFO}version")}
    assert versions.keys() == {"service", "application"}  # a local site runs no image
    assert versions["service"] == __version__ and (versions["application"] or "").startswith("sha256:")
    as_json = uws.get(job, headers=JSON).json()["jobInfo"]
    assert as_json["defaults"] == {"SECONDS": "0", "OUTPUT": "10"} and as_json["versions"] == versions
    page = uws.get(job, headers=PAGE).text
    assert "(default)" in page and "Application version" in page and str(versions["application"]) in page


def test_the_record_outlives_the_results(uws: Uws) -> None:
    """An archived job keeps its values (U-133)."""
    job = uws.create({"SECNDS": "1", "PHASE": "RUN"})
    assert uws.wait(job) == "COMPLETED"
    uws.post(f"{job}/destruction", {"DESTRUCTION": "2020-01-01T00:00:00Z"})
    assert uws.wait(job, "ARCHIVED") == "ARCHIVED"
    assert notices(uws, job) == [GUESS]
    assert {item.get("name") for item in uws.document(job).iter(f"{INFO}default")} == {
        "SECONDS",
        "EXIT",
        "OUTPUT",
    }


def test_an_application_can_refuse_unknown_parameters(server: Server) -> None:
    """``unknown_parameters: error``; its own version is recorded."""
    with Uws(server.url, "strict") as uws:
        job = uws.create({"SECNDS": "1", "PHASE": "RUN"})
        assert uws.phase(job) == "ERROR" and GUESS in uws.get(f"{job}/error").text
        sync = uws.post(f"{uws.base}/sync", {"SECNDS": "1"})
        assert sync.status_code == 400 and GUESS in sync.text
        job = uws.create({"seconds": "0", "RUNID": "mine", "PHASE": "RUN"})
        assert uws.wait(job) == "COMPLETED"
        assert [item.text for item in uws.document(job).iter(f"{INFO}version") if item.get("of") == "application"] == [
            "2.5"
        ]
