"""Provenance and crates of any job.

What they must say, and what they never may (P-001, P-011, P-022).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from uws_service.applications.model import Application, ParameterSpec, ResultSpec
from uws_service.applications.provenance import data_records
from uws_service.domain.dataset import DataFile, DataParameter, DataSet
from uws_service.domain.job import ErrorSummary, Job, Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo, LostAttempt
from uws_service.domain.record import InputRecord, Original, ResultRecord
from uws_service.domain.redaction import bare_url, redacted
from uws_service.protocol.crate import Publisher, crate_json, input_path, result_path
from uws_service.protocol.provenance import Graph, JobRecord, add_job, own_result, prov_json, prov_n
from uws_service.web.picture import picture

BASE = "https://uws.example.org/jobs"
SECRET = "s3cr3tXYZZY"
JOB_ID = "0123456789abcdef0123456789abcdef"
APPLICATION = Application(
    "probe",
    "A probe",
    "Looks closely.",
    ("true",),
    version="1.0",
    parameters=(
        ParameterSpec("RADIUS", "double", unit="arcsec", minimum=0, maximum=9, default="3"),
        ParameterSpec("CODE", secret=True, default=SECRET),
        ParameterSpec("IMAGE_FILE", file=True),
        ParameterSpec("DATA", dataset=True, repeated=True),
    ),
    results=(ResultSpec("result", "result", "text/csv"), ResultSpec("plots", "plots/*.png", "image/png")),
)

IVOA_TYPES = {"Main", "Calibration", "Preview", "Setup", "Quality", "Log", "Context"}
"""Of usages and generations (ProvDM 1.0 §2)."""

texts = st.text(max_size=30)
urls = st.builds(
    "{}://{}{}/{}?{}={}#{}".format,
    st.sampled_from(["https", "http", "davs", "s3"]),
    st.sampled_from(["", f"alice:{SECRET}@", f"{SECRET}@"]),
    st.sampled_from(["example.org", "[::1]:80", "h"]),
    st.sampled_from(["a/b.vot", "", "ü/x", "dir/"]),
    st.sampled_from(["X-Amz-Signature", "sig", "token", "q"]),
    st.just(SECRET),
    st.sampled_from(["", SECRET]),
)
tokens = st.builds(
    "{}eyJhbGciOi.{}.{}".format, st.sampled_from(["", "Bearer ", "x="]), st.just(SECRET), st.just(SECRET)
)
leaks = st.one_of(urls, tokens, st.just(f"Authorization: Bearer {SECRET}{SECRET}"))
odd_urls = urls.map(lambda url: url.replace("/dir", "/it's a dir", 1))
values = st.one_of(
    odd_urls, texts, st.builds("{} {} {}".format, texts, leaks, texts), leaks, st.builds("t,{};u,{}".format, urls, urls)
)
parameters = st.one_of(
    st.builds(Parameter, st.sampled_from(["RADIUS", "UPLOAD", "DATA", "other", "ü <"]), values),
    st.builds(
        Parameter, st.sampled_from(["CODE", "code", "PASSWORD", "api_key", "TOKEN", "aws_secret"]), st.just(SECRET)
    ),
    st.builds(Parameter, st.sampled_from(["IMAGE_FILE", "x"]), odd_urls),
    st.builds(
        Parameter, st.sampled_from(["part", "IMAGE_FILE"]), texts, st.just("key1"), st.just("text/csv"), st.just(3)
    ),
)
inputs = st.one_of(
    st.builds(
        InputRecord,
        st.sampled_from(["IMAGE_FILE", "mine"]),
        st.sampled_from(["files/IMAGE_FILE", "uploads/mine"]),
        st.builds(bare_url, urls),
        st.none() | st.integers(0, 2**50),
        st.sampled_from([{}, {"sha256": "ab" * 32}]),
    ),
    st.builds(
        InputRecord,
        st.just("DATA"),
        texts,
        st.sampled_from(["skao:a/b.fits", "ivo://auth/x?y", "ivo://auth", "https://h/x", ""]),
        st.none() | st.integers(0, 9),
        st.sampled_from([{}, {"adler32": "01234567"}]),
        st.just(True),
    ),
)
results = st.builds(
    Result,
    st.sampled_from(["result", "a.png", "x-y z", "ü", ".hidden", "-x", "q'\"<", "e."]),
    st.just("jobs/k"),
    st.sampled_from(["text/csv", "image/png"]),
    st.integers(0, 2**40),
    st.just("cd" * 32),
    st.sampled_from(["", f"https://u:{SECRET}@lake.example.org/a?sig={SECRET}"]),
)


@st.composite
def records(draw: st.DrawFn) -> JobRecord:
    phase = draw(st.sampled_from([Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.ARCHIVED]))
    produced = draw(st.lists(results, max_size=4, unique_by=lambda result: result.id))
    info = JobInfo(
        site=draw(st.sampled_from(["", "uk", "-x y"])),
        attempt=2,
        lost_attempts=(LostAttempt(1, "de", "NodeLost", draw(values)),),
        versions=draw(
            st.sampled_from(
                [
                    {},
                    {"service": "1", "application": "1.0"},
                    {"application": "0.9", "image": "ghcr.io/x/y:1", "digest": "sha256:" + "0f" * 32},
                    {"application": "1.0", "image": "busybox", "digest": "sha256:" + "0f" * 32},
                ]
            )
        ),
        defaults=draw(st.sampled_from([{}, {"RADIUS": "3", "CODE": SECRET}])),
        inputs=tuple(draw(st.lists(inputs, max_size=5))),
        digests={"key1": "ab" * 32},
        secret_names=("CODE",),
        original=draw(st.sampled_from([None, Original("f" * 32)])),
    )
    if phase is Phase.ARCHIVED:
        kept_results = tuple(ResultRecord(item.id, item.media_type, item.size, item.sha256) for item in produced)
        info, produced = replace(info, results=kept_results, archived=4_000), []
    error = (
        ErrorSummary(draw(values), reason="ExitCode", detail=SECRET) if phase in (Phase.ERROR, Phase.ABORTED) else None
    )
    job = Job(
        id=JOB_ID,
        application="probe",
        owner=draw(st.sampled_from([None, "alice@iam.example.org", "-o .", "ü'"])),
        phase=phase,
        created=1_000,
        duration=60,
        destruction=None,
        started=draw(st.sampled_from([None, 1_500])),
        ended=2_123,
        parameters=tuple(draw(st.lists(parameters, max_size=6))),
        results=tuple(produced),
        error=error,
        info=info,
    )
    return JobRecord(job, draw(st.sampled_from([None, APPLICATION, APPLICATION])))


def graph_of(record: JobRecord) -> Graph:
    graph = Graph(BASE)
    add_job(graph, record)
    return graph


@given(records())
@settings(max_examples=300)
def test_no_form_holds_a_secret(record: JobRecord) -> None:
    """P-011: in no URL, no token, no parameter, no error, whatever the form."""
    if any(record.is_secret(parameter.name) for parameter in record.job.parameters):
        assert not any(record.is_secret(value.name) for value in record.values())
    for body in (
        prov_json(graph_of(record)),
        prov_n(graph_of(record)),
        crate_json(record, BASE, Publisher()),
        str(picture(record, BASE)).encode(errors="replace"),
    ):
        assert SECRET.encode() not in body


@given(records())
@settings(max_examples=200)
def test_what_a_graph_says(record: JobRecord) -> None:
    """Each result is generated once; roles are names of the descriptor; both ends of a relation are there (P-001).

    The job is the one activity that is described (P-003, P-010), and types are IVOA's words (P-002).
    """
    graph = graph_of(record)
    document: dict[str, Any] = json.loads(prov_json(graph))
    generated = Counter(relation["prov:entity"] for relation in document.get("wasGeneratedBy", {}).values())
    places = {name: entity for name, entity in document.get("entity", {}).items() if f"{JOB_ID}/results/" in name}
    assert len(places) == len(record.results())
    assert all(generated[name] == 1 for name in places)
    roles = {relation["prov:role"] for relation in document.get("used", {}).values()}
    assert roles <= {"IMAGE_FILE", "DATA", "RADIUS", "UPLOAD", "mine", "other", "ü <", "software"}
    names = {name for kind in ("entity", "activity", "agent") for name in document.get(kind, {})}
    for kind in document.keys() - {"prefix", "entity", "activity", "agent"}:
        for relation in document[kind].values():
            ends = [value for key, value in relation.items() if key.startswith("prov:") and key not in
                    ("prov:role", "prov:time", "prov:type")]  # fmt: skip
            assert set(ends) <= names, relation
    activities = [name for name, activity in document["activity"].items() if activity]
    assert activities == [f"service:probe/async/{JOB_ID}"]
    relations = [relation for kind in ("used", "wasGeneratedBy") for relation in document.get(kind, {}).values()]
    assert {relation.get("voprov:type") for relation in relations} <= IVOA_TYPES
    for name in names:
        prefix, _, local = name.partition(":")
        assert prefix in document["prefix"]
        assert re.fullmatch(r"[A-Za-z0-9_%/@~#][A-Za-z0-9_%/@~#.-]*(?<!\.)", local), name


@given(records())
@settings(max_examples=100)
def test_stability(record: JobRecord) -> None:
    """Asking twice gives the same bytes."""
    assert prov_json(graph_of(record)) == prov_json(graph_of(record))
    assert prov_n(graph_of(record)) == prov_n(graph_of(record))
    crate = crate_json(record, BASE, Publisher())
    assert crate == crate_json(record, BASE, Publisher())


@given(records())
@settings(max_examples=200)
def test_what_a_crate_says(record: JobRecord) -> None:
    """P-041…P-043: one action, all references lead to entities, every file is in hasPart."""
    entities = {entity["@id"]: entity for entity in json.loads(crate_json(record, BASE, Publisher()))["@graph"]}
    actions = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert len(actions) == 1
    failed = actions[0]["actionStatus"].endswith("FailedActionStatus")
    assert failed == (record.job.phase in (Phase.ERROR, Phase.ABORTED))
    assert "error" not in actions[0] or failed
    parts = entities["./"].get("hasPart", [])
    listed = {part["@id"] for part in (parts if isinstance(parts, list) else [parts])}
    assert listed == {name for name, entity in entities.items() if entity["@type"] == "File"}
    outside = {"https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/terms/workflow-run#DockerImage"}
    for entity in entities.values():
        for value in entity.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    assert item["@id"] in entities.keys() | outside, (entity, item)
            assert value != [] and not (isinstance(value, list) and len(value) == 1)


def test_redaction() -> None:
    """What stays of a URL, and what of a text."""
    assert bare_url("https://u:p@h:1/a%20b/c.vot?sig=1#x") == "https://h:1/a%20b/c.vot"
    assert bare_url("ivo://auth/path?file") == "ivo://auth/path?file"
    assert bare_url("https://[broken/?x") == "(left out)"
    query = "SELECT TOP 1 * FROM a WHERE b = 'https://h/x?t=1' AND c = 'basic'"
    assert redacted(query) == query.replace("?t=1", "")


def test_own_results() -> None:
    """A result of this service is known by its URL, and by no other."""
    url = f"{BASE}/probe/async/{JOB_ID}/results/a%20b"
    assert own_result(url, BASE) == ("probe", JOB_ID, "a%20b")
    assert own_result(f"{url}?SHARE=x", BASE) == ("probe", JOB_ID, "a%20b")
    for other in ("https://evil.example/probe", BASE, f"{BASE}.evil/probe/async/{JOB_ID}/results/x", f"{url}/y"):
        assert own_result(other, BASE) is None


def test_many_files_of_data_are_one_line() -> None:
    """A record does not grow with a data set, and tells another content nevertheless."""

    def looked_up(count: int, size: int) -> list[DataParameter]:
        files = tuple(DataFile(f"f{number}", size, {"md5": "00"}) for number in range(count))
        return [DataParameter("DATA", ("skao:x",), sets=(DataSet("skao:x", files),))]

    assert [record.path for record in data_records(looked_up(2, 1))] == ["f0", "f1"]
    (line,) = data_records(looked_up(1000, 1))
    assert (line.path, line.size, line.source) == ("", 1000, "skao:x")
    assert line != data_records(looked_up(1000, 2))[0]


def test_no_path_leads_out_of_a_crate() -> None:
    """Whatever a result or an input is called."""
    for name in ("..", ".", "a/../b", "/etc/passwd", "..\\x", "", "a\0b"):
        for path in (result_path(name), input_path(InputRecord("P", f"files/{name}"))):
            parts = path.split("/")
            assert not {".", ".."} & set(parts) and parts[0] in ("results", "inputs"), path
            assert not set(path) & {"\\", "\0"}
