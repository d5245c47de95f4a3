"""The records of real jobs, judged by what others wrote: W3C's and IVOA's PROV, RO-Crate's validator."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.judges.environment import judgement
from tests.server import Server
from uws_service.cli import run
from uws_service.protocol.crate import METADATA
from uws_service.web.provenance import HAS_PROVENANCE

COPIES = Path(__file__).with_name("copies.yaml")
EXPLAINS = Path(__file__).with_name("explains.yaml")
TABLE = b"name,ra,dec\na,10.6847,41.2690\nb,202.4696,47.1952\n"
PASSWORD, SIGNATURE = "p4ssw0rdXY", "s1gn4tureXY"
JSON = {"Accept": "application/json"}


class Origin(ThreadingHTTPServer):
    """Serves one file, which may change."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = TABLE
        self.url = f"http://127.0.0.1:{self.server_address[1]}/tables/mine.csv"


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Yield a server of a file."""
    server = Origin()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a service that may fetch from this machine, and does not forget jobs at once."""
    folder = tmp_path_factory.mktemp("records")
    for path in (COPIES, EXPLAINS):
        (folder / path.name).write_text(path.read_text())
    settings = {
        "UWS_APPLICATIONS": json.dumps([str(folder / path.name) for path in (COPIES, EXPLAINS)]),
        "UWS_FETCH__ALLOW_PRIVATE": "true",
        "UWS_REAP_INTERVAL": "0.3",
        "UWS_PROVENANCE__LICENCE": "https://creativecommons.org/licenses/by/4.0/",
        "UWS_PROVENANCE__PUBLISHER": "An observatory",
    }
    server = Server(folder, settings)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=180) as client:
        yield client


def ended(http: httpx2.Client, job: str) -> str:
    """Return the phase of a job at its end."""
    deadline = time.monotonic() + 300
    while (phase := http.get(f"{job}/phase").text) not in ("COMPLETED", "ERROR", "ABORTED"):
        assert time.monotonic() < deadline, phase
        http.get(f"{job}?WAIT=5&PHASE={phase}")
    return phase


def completed(http: httpx2.Client, application: str, data: dict[str, Any], **options: Any) -> str:
    """Run a job to its good end.

    Return its URL.
    """
    created = http.post(f"/{application}/async", data={**data, "PHASE": "RUN"}, **options)
    assert created.status_code == 303, created.text
    job: str = created.headers["location"]
    assert ended(http, job) == "COMPLETED", http.get(f"{job}/error").text
    return job


@pytest.fixture(scope="module")
def crossmatch(http: httpx2.Client) -> str:
    data = {"UPLOAD": "mine,param:t", "RADIUS": "60", "RESPONSEFORMAT": "csv"}
    return completed(http, "crossmatch", data, files={"t": ("t.csv", TABLE, "text/csv")})


def stored(tmp_path: Path, http: httpx2.Client, url: str) -> str:
    """Return the file in which an answer is kept."""
    answer = http.get(url)
    assert answer.status_code == 200, answer.text
    path = tmp_path / "document.json"
    path.write_bytes(answer.content)
    return str(path)


def normal(provn: str) -> list[str]:
    """Return the statements of a PROV-N document with their attributes in one order."""
    statements = []
    for line in provn.splitlines():
        head, bracket, tail = line.strip().partition("[")
        words = sorted(tail.rstrip(")").rstrip("]").split(", ")) if bracket else []
        # As `prov` writes them: without identifiers of relations, numbers without a type.
        statements.append(f"{head}{words}".replace(" %% xsd:long", "").replace('"', ""))
    return sorted(statement for statement in statements if statement not in ("", "[]"))


def test_prov_reads_both_forms(http: httpx2.Client, crossmatch: str, tmp_path: Path) -> None:
    """`prov` finds exactly our entities, and writes the PROV-N that we do (P-020, P-022)."""
    path = stored(tmp_path, http, f"{crossmatch}/provenance")
    judged = judgement("prov", path)
    job = "service:" + crossmatch.partition("//")[2].partition("/")[2]
    assert judged["activity"] == [job]
    assert judged["agent"] == ["site:local", "software:uws-service"]
    own = {name.removeprefix(f"{job}/") for name in judged["entity"] if name.startswith(f"{job}/")}
    assert own == {
        "parameters/UPLOAD",
        "parameters/RADIUS",
        "parameters/RESPONSEFORMAT",
        "defaults/MAXREC",
        "inputs/uploads/mine",
        "results/result",
        "logs/stdout",
        "logs/stderr",
    }
    described = {name for name in judged["entity"] if not name.startswith(f"{job}/")}
    assert described == {
        "service:crossmatch",
        "service:crossmatch#parameter/RADIUS",
        "service:crossmatch#usage/UPLOAD",
        "service:crossmatch#generation/result",
    }
    assert ["Derivation", f"{job}/results/result", f"{job}/inputs/uploads/mine"] in judged["relations"]
    text = http.get(f"{crossmatch}/provenance", headers={"Accept": "text/provenance-notation"})
    assert text.headers["content-type"].startswith("text/provenance-notation")
    assert normal(text.text) == normal(judged["provn"])
    entities = json.loads(Path(path).read_text())["entity"]
    assert entities[f"{job}/inputs/uploads/mine"]["uws:sha256"] == hashlib.sha256(TABLE).hexdigest()
    assert http.get(f"{crossmatch}/provenance").content == Path(path).read_bytes()


def test_voprov_reads_the_classes_of_ivoa(http: httpx2.Client, crossmatch: str, tmp_path: Path) -> None:
    """IVOA's reader knows every class, and reads every record (P-021)."""
    judged = judgement("voprov", stored(tmp_path, http, f"{crossmatch}/provenance"))
    assert judged["foreign"] == []
    assert {f"voprov:{name}" for name in (
        "Activity", "ActivityDescription", "DatasetEntity", "Parameter", "ParameterDescription", "UsageDescription",
        "GenerationDescription", "ConfigurationRelation", "DescriptionRelation", "Usage", "Generation",
    )} <= set(judged["ivoa"])  # fmt: skip
    assert {"VOProvActivity", "VOProvEntity", "VOProvAgent", "VOProvUsage", "VOProvGeneration"} <= set(
        judged["classes"]
    )


def test_forms_and_links(http: httpx2.Client, crossmatch: str) -> None:
    """P-030, P-032: RESPONSEFORMAT and Accept, and a Link on each result.

    PROV-XML is made by readers of ours (P-023), and nothing reads a VOTable of provenance (P-024).
    """
    for form, media_type in {
        "PROV-JSON": "application/json",
        "prov-n": "text/provenance-notation",
        "image/svg+xml": "image/svg+xml",
        "RO-CRATE": "application/ld+json",
    }.items():
        answer = http.get(f"{crossmatch}/provenance", params={"RESPONSEFORMAT": form})
        assert answer.headers["content-type"].partition(";")[0] == media_type
    for form in ("PROV-XML", "VOTABLE", "application/x-votable+xml"):
        refused = http.get(f"{crossmatch}/provenance", params={"RESPONSEFORMAT": form})
        assert refused.status_code == 400 and "PROV-N (text/provenance-notation)" in refused.text
    link = http.head(f"{crossmatch}/results/result").headers["link"]
    assert link == f'<{crossmatch}/provenance>; rel="{HAS_PROVENANCE}"; anchor="{crossmatch}/results/result"'
    pending = http.post("/sleep/async").headers["location"]
    early = http.get(f"{pending}/provenance")
    assert early.status_code == 404 and "has not ended" in early.text


def test_the_page_has_a_picture(http: httpx2.Client, crossmatch: str) -> None:
    """Inputs, job and results, in the colour of the page, without script."""
    page = http.get(crossmatch, headers={"Accept": "text/html,application/xhtml+xml"}).text
    assert '<figure class="origin">' in page and "currentColor" in page and "<script>" not in page
    assert f"{crossmatch}/crate.zip" in page and f"{crossmatch}/results/result" in page


def test_the_crate_of_a_completed_job(http: httpx2.Client, crossmatch: str, tmp_path: Path) -> None:
    """Every file is there with its digest, and the validator has nothing to say that is required (P-040)."""
    answer = http.get(f"{crossmatch}/crate.zip")
    assert http.get(f"{crossmatch}/crate.zip").content == answer.content
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "crate")
        assert sorted(archive.namelist()) == ["inputs/uploads/mine", "results/result", METADATA]
    entities = {item["@id"]: item for item in json.loads((tmp_path / "crate" / METADATA).read_text())["@graph"]}
    for path in ("inputs/uploads/mine", "results/result"):
        content = (tmp_path / "crate" / path).read_bytes()
        assert entities[path]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[path]["contentSize"] == str(len(content))
    assert entities["./"]["license"] == {"@id": "https://creativecommons.org/licenses/by/4.0/"}
    judged = judgement("crate", str(tmp_path / "crate"), "RECOMMENDED")
    # Nobody was logged in, so the crate has no author and the action no agent.
    assert {issue["check"] for issue in judged["issues"]} <= {"process-run-crate-0.5_8.6", "ro-crate-1.1_22.2"}
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / METADATA).write_bytes(http.get(f"{crossmatch}/crate").content)
    assert judgement("crate", str(tmp_path / "alone"), "REQUIRED") == {"passed": True, "issues": []}


@pytest.mark.parametrize("phase", ["ERROR", "ABORTED"])
def test_the_record_of_a_failed_job(http: httpx2.Client, phase: str, tmp_path: Path) -> None:
    """P-012: what it ran with, and why it failed."""
    data = {"SECONDS": "0", "EXIT": "3"} if phase == "ERROR" else {"SECONDS": "500"}
    job = http.post("/sleep/async", data={**data, "PHASE": "RUN"}).headers["location"]
    if phase == "ABORTED":
        http.post(f"{job}/phase", data={"PHASE": "ABORT"})
    assert ended(http, job) == phase
    document = http.get(f"{job}/provenance").json()
    (activity,) = document["activity"].values()
    assert activity["uws:phase"] == phase and activity["uws:errorReason"]
    assert not any(f"{job.rpartition('/')[2]}/results/" in name for name in document["entity"])
    (tmp_path / METADATA).write_bytes(http.get(f"{job}/crate").content)
    crate = json.loads((tmp_path / METADATA).read_text())
    (action,) = (item for item in crate["@graph"] if item["@type"] == "CreateAction")
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus" and action["error"]
    assert judgement("crate", str(tmp_path), "REQUIRED") == {"passed": True, "issues": []}


def test_jobs_that_use_results_of_others(http: httpx2.Client, crossmatch: str) -> None:
    """A result as an input links the jobs, in both directions, as far as one goes."""
    second = completed(http, "copies", {"FILE": f"{crossmatch}/results/result"})
    third = completed(http, "copies", {"FILE": f"{second}/results/copy?x=1"})
    root = crossmatch.partition("/crossmatch/")[0]
    names = [job.replace(f"{root}/", "service:") for job in (crossmatch, second, third)]
    document = http.get(f"{second}/provenance").json()
    result = f"{names[0]}/results/result"
    assert document["wasInformedBy"].popitem()[1] == {"prov:informed": names[1], "prov:informant": names[0]}
    assert document["wasDerivedFrom"].popitem()[1]["prov:usedEntity"] == result
    digest = hashlib.sha256(http.get(f"{crossmatch}/results/result").content).hexdigest()
    assert document["entity"][result]["uws:sha256"] == digest  # as the agent fetched it

    def described(**query: Any) -> set[str]:
        """Return the jobs of which a graph says more than that they are there."""
        answer = http.get("/provsap", params=query)
        assert answer.status_code == 200, answer.text
        return {name for name, activity in answer.json()["activity"].items() if activity}

    assert described(ID=third, DEPTH="0") == {names[2]}
    assert described(ID=third) == set(names[1:])
    assert described(ID=f"{third}/results/copy", DEPTH="ALL") == set(names)
    assert described(ID=crossmatch.rpartition("/")[2], DEPTH="ALL", DIRECTION="FORWARD") >= set(names)
    assert described(ID=second, DEPTH="ALL", DIRECTION="FORWARD") == set(names[1:])
    assert described(ID=[second, crossmatch], DEPTH="0") == set(names[:2])
    assert http.delete(second).status_code == 303
    assert described(ID=crossmatch, DIRECTION="FORWARD", DEPTH="ALL") & set(names) == {names[0]}


def test_the_parameters_of_provsap(http: httpx2.Client, crossmatch: str) -> None:
    """What they leave out, and errors in DALI's form (P-030); nothing claims a standard that is none (P-031)."""
    assert "provsap" not in http.get("/crossmatch/capabilities").text.lower()
    full = http.get("/provsap", params={"ID": crossmatch}).json()
    assert "agent" in full
    lean = {"AGENTS": "0", "DESCRIPTIONS": "0", "CONFIGURATION": "0", "MEMBERS": "0", "MODEL": "W3C"}
    short = http.get("/provsap", params={"id": crossmatch, **lean}).json()
    assert "agent" not in short and not any("#" in name or "/parameters/" in name for name in short["entity"])
    text = http.get("/provsap", params={"ID": crossmatch, "RESPONSEFORMAT": "PROV-N"})
    assert text.text.startswith("document\n")
    for query, words in {
        "": "ID is required",
        "ID=x": "neither the id of a job",
        f"ID={crossmatch}&DEPTH=-1": "DEPTH",
        f"ID={crossmatch}&DIRECTION=UP": "BACK, FORWARD",
        f"ID={crossmatch}&MODEL=IVOA": "possible: W3C",
        f"ID={crossmatch}&RESPONSEFORMAT=PROV-PNG": "offered: PROV-JSON",
        f"ID={crossmatch}&AGENT=1": "no parameter here",
        "&".join(f"ID={number:032x}" for number in range(21)): "at most 20",
    }.items():
        refused = http.get(f"/provsap?{query}")
        assert refused.status_code == 400 and words in refused.text, (query, refused.text)
        assert refused.headers["content-type"] == "application/x-votable+xml"
    absent = http.get("/provsap", params={"ID": "0" * 32})
    assert absent.status_code == 404 and "QUERY_STATUS" in absent.text


def test_no_secret_of_a_real_job(http: httpx2.Client, origin: Origin) -> None:
    """P-011: signatures, passwords and secret parameters are in none of its documents."""
    url = origin.url.replace("//", f"//alice:{PASSWORD}@") + f"?X-Amz-Signature={SIGNATURE}"
    job = completed(http, "copies", {"FILE": url, "PIN": PASSWORD, "token": SIGNATURE})
    pages = [http.get(f"{job}/{path}") for path in ("provenance?RESPONSEFORMAT=PROV-N", "crate", "crate.zip")]
    pages += [http.get(f"{job}/provenance"), http.get(f"{job}/provenance?RESPONSEFORMAT=PROV-SVG")]
    pages += [http.get("/provsap", params={"ID": job}), http.get(f"{job}/rerun")]
    for answer in pages:
        assert answer.status_code == 200
        assert PASSWORD.encode() not in answer.content and SIGNATURE.encode() not in answer.content, answer.url
        assert b"mine.csv" in answer.content


def test_what_the_code_itself_says(http: httpx2.Client, tmp_path: Path) -> None:
    """P-014: it is a bundle that `prov` reads; one that is broken is a warning, and nothing else is missing."""
    content = {
        "prefix": {"ex": "https://example.org/"},
        "entity": {"ex:model": {"prov:label": "A model"}},
        "activity": {"ex:fit": {}},
        "used": {"_:u1": {"prov:activity": "ex:fit", "prov:entity": "ex:model"}},
    }
    job = completed(http, "explains", {}, files={"FILE": ("p.json", json.dumps(content).encode())})
    judged = judgement("prov", stored(tmp_path, http, f"{job}/provenance"))
    result = f"service:{job.partition('//')[2].partition('/')[2]}/results/why"
    (name,) = judged["bundles"]
    assert name == result and result in judged["entity"]
    assert judged["bundles"][name]["entity"] == ["ex:model"]
    assert judged["bundles"][name]["relations"] == [["Usage", "ex:fit", "ex:model"]]
    broken = completed(http, "explains", {}, files={"FILE": ("p.json", b'{"entity": 1}')})
    document = http.get(f"{broken}/provenance").json()
    (activity,) = document["activity"].values()
    assert "entity must be an object" in activity["uws:warning"] and "bundle" not in document
    silent = completed(http, "explains", {"SILENT": "yes"}, files={"FILE": ("p.json", b"{}")})
    assert "bundle" not in http.get(f"{silent}/provenance").json()


def test_an_archived_job_keeps_its_provenance(http: httpx2.Client) -> None:
    """P-013: what its results were, and when they went."""
    job = completed(http, "copies", {}, files={"FILE": ("f.txt", b"abc")})
    (result,) = http.get(f"{job}/results", headers=JSON).json()
    http.post(f"{job}/destruction", data={"DESTRUCTION": "2020-01-01T00:00:00Z"})
    deadline = time.monotonic() + 180
    while http.get(f"{job}/phase").text != "ARCHIVED":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    entities = http.get(f"{job}/provenance").json()["entity"]
    (kept,) = (entity for name, entity in entities.items() if name.endswith("/results/copy"))
    assert kept["uws:sha256"] == result["sha256"] and "voprov:invalidatedAtTime" in kept
    deadline = time.monotonic() + 180
    while (plan := http.get(f"{job}/rerun").json())["possible"]:
        assert time.monotonic() < deadline  # its files go a little later
        time.sleep(0.1)
    assert "no longer there" in plan["missing"][0] and plan["results"][0]["sha256"] == result["sha256"]
    refused = http.post(f"{job}/rerun")
    assert refused.status_code == 409 and "f.txt" in refused.text
    with zipfile.ZipFile(io.BytesIO(http.get(f"{job}/crate.zip").content)) as archive:
        assert archive.namelist() == [METADATA]


def test_the_names_of_opus(tmp_path: Path) -> None:
    """P-030, P-032: with the setting, provenance is among the results, with its size and digest; else it is not."""
    server = Server(tmp_path, {"UWS_PROVENANCE__OPUS_RESULTS": "true"})
    server.start()
    try:
        with httpx2.Client(base_url=server.url, timeout=180, follow_redirects=True) as http:
            job = str(http.post("/sleep/async", data={"SECONDS": "0", "PHASE": "RUN"}).url)
            assert ended(http, job) == "COMPLETED"
            results = {item["id"]: item for item in http.get(f"{job}/results", headers=JSON).json()}
            assert list(results) == ["result", "provjson", "provsvg"]
            for name in ("provjson", "provsvg"):
                body = http.get(results[name]["href"]).content
                assert (len(body), hashlib.sha256(body).hexdigest()) == (results[name]["size"], results[name]["sha256"])
                assert http.get(f"{job}/results/{name}").content == body
            assert 'id="provjson"' in http.get(job).text and "provjson" in http.get(job, headers=JSON).text
            assert "/results/provjson" not in http.get(f"{job}/provenance").text
    finally:
        server.stop()


# --- the same again -----------------------------------------------------------------------------------------------

QUERY = "SELECT TOP 5 name, ra, dec FROM openngc.objects WHERE vmag < 9 ORDER BY name"


def test_verify_says_that_jobs_are_reproducible(
    http: httpx2.Client, crossmatch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crossmatch, a query and a cutout give the same bytes once more."""
    query = completed(http, "tap", {"LANG": "ADQL", "QUERY": QUERY})
    circle = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.005"}
    cutout = completed(http, "cutout", circle)
    for job in (crossmatch, query, cutout):
        code = run(["verify", job, "--json", "--delete"])
        out, err = capsys.readouterr()
        assert code == 0, err
        verdict = json.loads(out)
        assert verdict["reproducible"] and verdict["results"][0]["verdict"] == "same"
        assert http.get(verdict["rerun"]).status_code == 404  # --delete
    used = http.get(f"{cutout}/provenance").json()
    assert any("images?" in json.dumps(entity) for entity in used["entity"].values())


def test_verify_says_that_a_job_is_not(http: httpx2.Client, origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """Its result is another one each time."""
    job = completed(http, "copies", {"FILE": origin.url, "STAMP": "yes"})
    code = run(["verify", job])
    out, err = capsys.readouterr()
    assert code == 1 and out.startswith("different copy"), (out, err)
    assert "not reproducible" in err


def test_an_input_that_has_changed(http: httpx2.Client, origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """The new job is not given another input, but ends with an error that names it."""
    job = completed(http, "copies", {"FILE": origin.url})
    origin.content = TABLE + b"c,1,2\n"
    assert run(["verify", job]) == 1
    err = capsys.readouterr().err
    assert "sha256" in err and "mine.csv" in err and "instead of" in err
    origin.content = TABLE
    assert run(["verify", job]) == 0


def test_rerun_makes_an_idle_job_or_starts_it(
    http: httpx2.Client, crossmatch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rerun` prints the new job; it has a copy of the upload, and says where it came from."""
    assert run(["rerun", crossmatch]) == 0
    idle = capsys.readouterr().out.strip()
    assert http.get(f"{idle}/phase").text == "PENDING"
    assert http.get(f"{idle}/parameters/t").content == TABLE
    http.post(f"{idle}/phase", data={"PHASE": "RUN"})
    assert ended(http, idle) == "COMPLETED"
    influences = http.get(f"{idle}/provenance").json()["wasInfluencedBy"].values()
    repeated = [item["prov:influencer"] for item in influences if "Repetition" in json.dumps(item)]
    assert [name.rpartition("/")[2] for name in repeated] == [crossmatch.rpartition("/")[2]]
    before = http.get(crossmatch, headers=JSON).json()["results"][0]["sha256"]
    assert http.get(idle, headers=JSON).json()["results"][0]["sha256"] == before


def test_a_rerun_with_other_parameters_is_no_rerun(http: httpx2.Client, crossmatch: str) -> None:
    job = http.post(f"{crossmatch}/rerun").headers["location"]
    assert http.post(f"{job}/parameters", data={"RADIUS": "61"}).status_code == 303
    http.post(f"{job}/phase", data={"PHASE": "RUN"})
    ended(http, job)
    assert "Repetition" not in http.get(f"{job}/provenance").text


def test_what_is_no_longer_there(
    http: httpx2.Client, server: Server, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deleted source, and an upload that somebody changed, are named; no job is made."""
    source = completed(http, "copies", {"FILE": origin.url})
    job = completed(http, "copies", {"FILE": f"{source}/results/copy"})
    assert http.get(f"{job}/rerun").json()["possible"]
    http.delete(source)
    assert run(["rerun", job]) == 1
    assert f"{source}/results/copy is no longer there" in capsys.readouterr().err
    uploaded = completed(http, "copies", {}, files={"FILE": ("f.txt", b"abc")})
    (path,) = (server.folder / "data" / "depot" / "jobs" / uploaded.rpartition("/")[2] / "uploads").iterdir()
    path.write_bytes(b"abd")
    jobs = http.get("/copies/async", headers=JSON).json()["jobs"]
    refused = http.post(f"{uploaded}/rerun", data={"PHASE": "RUN"})
    assert refused.status_code == 409 and "not what it was" in refused.text
    assert http.get("/copies/async", headers=JSON).json()["jobs"] == jobs
    assert http.post(f"{uploaded}/rerun", data={"PHASE": "STOP"}).status_code == 400
    assert http.post(f"{uploaded}/rerun", data={"DIFFERENCES": "maybe"}).status_code == 400


def test_a_repeated_request_makes_one_job(http: httpx2.Client, crossmatch: str) -> None:
    """The Idempotency-Key holds here too, and another request with it is refused."""
    headers = {"Idempotency-Key": "0198c1f4-77de-4f3a-9d0e-0d6f2f4f9a77"}
    places = {http.post(f"{crossmatch}/rerun", headers=headers).headers["location"] for _ in range(2)}
    assert len(places) == 1
    assert http.post(f"{crossmatch}/rerun", data={"PHASE": "RUN"}, headers=headers).status_code == 422


def test_another_version_of_the_application(server: Server, origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told, and done only if the caller accepts it."""
    with httpx2.Client(base_url=server.url, timeout=180) as http:
        job = completed(http, "copies", {"FILE": origin.url})
    server.stop()
    descriptor = server.folder / "copies.yaml"
    descriptor.write_text(descriptor.read_text().replace('version: "1"', 'version: "2"'))
    server.start()
    with httpx2.Client(base_url=server.url, timeout=180) as http:
        refused = http.post(f"{job}/rerun")
        assert refused.status_code == 409 and "of version 1; now it is of version 2" in refused.text
        assert run(["verify", job]) == 1
        assert "--accept-differences" in capsys.readouterr().err
        assert run(["verify", job, "--accept-differences"]) == 0
        assert "application: 1 before, 2 now" in capsys.readouterr().err
