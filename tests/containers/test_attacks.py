"""What a hostile or careless client may try at ``/v1/jobs``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx2
import pytest
from ska_src_ef_broker_client import Broker

from tests.containers.conftest import TOOL
from tests.containers.test_client import until

Brokers = Callable[[str], Broker]
Clients = Callable[[str], httpx2.Client]


def document(job_id: object = "x", **changes: object) -> dict[str, object]:
    """Return what the client posts, with changes."""
    engine = {"--image": TOOL, "--cmd": "true", "--cpu": "1", "--memory": "64", "--gpu": "0", "--clean": "always"}
    usual: dict[str, object] = {
        "job_id": job_id,
        "request_id": job_id,
        "workflow_type": "py",
        "workflow_type_version": "3.14",
        "workflow_engine_parameters": engine,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def engine(**changes: object) -> dict[str, object]:
    """Return engine parameters: ``cmd="true"`` is ``--cmd``."""
    return {"--image": TOOL, "--cmd": "true", **{f"--{name}": value for name, value in changes.items()}}


def test_somebody_elses_job(broker_of: Brokers, http_of: Clients) -> None:
    """By the client's id there is none; by the job's own id it is forbidden."""
    job = broker_of("alice").run("sleep 600", job_id="alices")
    own_id = job.raw_status()["run_id"]
    bob = http_of("bob")
    for path in ("", "/logs"):
        assert bob.get(f"/v1/jobs/alices{path}").status_code == 404
        assert bob.get(f"/v1/jobs/{own_id}{path}").status_code == 403
    assert bob.post("/v1/jobs/alices/cancel").status_code == 404
    assert bob.post(f"/v1/jobs/{own_id}/cancel").status_code == 403
    assert http_of("alice").get(f"/v1/jobs/{own_id}").json()["job_id"] == "alices"
    assert all(item["job_id"] != "alices" for item in bob.get("/v1/jobs").json()["jobs"])
    assert job.cancel()["state"] == "CANCELED"


def test_two_owners_have_the_same_id(broker_of: Brokers) -> None:
    """Each reads, and cancels, the job of its own."""
    jobs = {user: broker_of(user).run("sleep 600", job_id="the-same") for user in ("alice", "bob")}
    run_ids = {user: job.raw_status()["run_id"] for user, job in jobs.items()}
    assert len(set(run_ids.values())) == 2
    assert jobs["bob"].cancel()["run_id"] == run_ids["bob"]
    assert jobs["alice"].state != "CANCELED"
    assert jobs["alice"].cancel()["state"] == "CANCELED"


def test_nobody_learns_which_ids_there_are(broker_of: Brokers, http_of: Clients) -> None:
    """Without a token every answer is the same 401, with a challenge."""
    job = broker_of("alice").run("true", job_id="a-secret-name")
    nobody = http_of("")
    paths = ("a-secret-name", "no-such-name", job.raw_status()["run_id"], "0" * 32)
    answers = [nobody.get(f"/v1/jobs/{name}") for name in paths]
    answers += [nobody.post(f"/v1/jobs/{name}/cancel") for name in paths]
    answers += [nobody.get("/v1/jobs"), nobody.post("/v1/jobs", json=document())]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert "detail" in answers[0].json() and "ivoa_bearer" in answers[0].headers["www-authenticate"]
    forged = nobody.get("/v1/jobs", headers={"authorization": "Bearer a.b.c"})
    assert forged.status_code == 401 and "detail" in forged.json()


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "The body is no JSON"),
        (b"[]", 400, "The body must be an object"),
        (b'"text"', 400, "The body must be an object"),
        (b"\xff{}", 400, "The body must be JSON in UTF-8."),
        (b"[" * 100_000, 400, "The body is nested too deeply."),
        (b'{"job_id": NaN}', 400, "The body is no JSON: NaN is no number of JSON."),
        (b'{"job_id": 1' + b"0" * 5000 + b"}", 400, "The body is no JSON"),
        (b'{"job_id": "a", "job_id": "b"}', 400, "'job_id' is there twice."),
        (b" " * (2 * 2**20 + 1), 413, "The body has more than 2097152 bytes."),
        (document(extra=1), 400, "'extra' is not known; possible: job_id,"),
        (document(job_id=["x"], request_id=None), 400, "job_id must be a text"),
        (document(job_id=None, request_id=None), 400, "job_id or request_id is required"),
        (document(request_id="y"), 400, "job_id and request_id must be the same."),
        (document("../x"), 400, "job_id='../x' must have 1 to 64"),
        (document("a" * 65), 400, "job_id='aaaa"),
        (document("0123456789abcdef" * 2), 400, "job_id='0123"),
        (document("\ud800"), 400, "job_id is no text"),
        (document(workflow_type="cwl"), 400, "workflow_type='cwl' is not run here; possible: py, snakemake."),
        (document(workflow_type={"a": 1}), 400, "workflow_type={'a': 1} is not run here"),
        (document(workflow_engine_parameters=None), 400, "workflow_engine_parameters must be an object"),
        (document(workflow_engine_parameters=[]), 400, "workflow_engine_parameters must be an object"),
        (document(workflow_engine_parameters=engine(cmd=["a"])), 400, "--cmd must be a text or a number"),
        (document(workflow_engine_parameters=engine(cmd="a\0b")), 400, "--cmd must have no NUL."),
        (document(workflow_engine_parameters=engine(cmd="")), 400, "--cmd is required."),
        (document(workflow_engine_parameters=engine(cmd="x" * 200_000)), 400, "COMMAND has 200000 bytes"),
        (document(workflow_engine_parameters=engine(cpu="nan")), 400, "--cpu='nan' must be a number of cores"),
        (document(workflow_engine_parameters=engine(cpu="-1")), 400, "--cpu='-1' must be a number of cores"),
        (document(workflow_engine_parameters=engine(cpu=True)), 400, "--cpu must be a text or a number"),
        (document(workflow_engine_parameters=engine(cpu="1", cores="2")), 400, "--cpu and --cores are the same"),
        (document(workflow_engine_parameters=engine(memory="1GB")), 400, "--memory='1GB' must be a number of mega"),
        (document(workflow_engine_parameters=engine(memory="0.0001")), 400, "MEMORY='104' is 104 bytes; a job may"),
        (document(workflow_engine_parameters=engine(gpu="1.5")), 400, "--gpu='1.5' must be a whole number"),
        (document(workflow_engine_parameters=engine(timeout="0")), 400, "--timeout='0' must be a whole number"),
        (document(workflow_engine_parameters=engine(timeout="1" * 12)), 400, "--timeout='111111111111' must be"),
        (document(workflow_engine_parameters=engine(clean="never")), 400, "--clean='never' is not supported"),
        (document(workflow_engine_parameters=engine(env='{"A": NaN}')), 400, "--env is no JSON"),
        (document(workflow_engine_parameters=engine(env='{"A": {}}')), 400, "--env: A must be a text or a number"),
        (document(workflow_engine_parameters=engine(env='{"A=B": "c"}')), 400, "--env: 'A=B' is no name"),
        (document(workflow_engine_parameters=engine(env='{"A": "1", "A": "2"}')), 400, "'A' is there twice."),
        (document(workflow_engine_parameters=engine(env="A")), 400, "--env must be a JSON object of texts, or"),
        (document(workflow_engine_parameters=engine(input="http://[::1")), 400, "--input: the URL can't be read"),
        (document(workflow_params={"rucio_dids": "a:b"}), 400, "rucio_dids must be a list"),
        (document(workflow_params={"rucio_dids": ["nothing"]}), 400, "rucio_dids: 'nothing' is no data identifier"),
        (document(workflow_params=[]), 400, "workflow_params must be an object"),
        (document(workflow_params={"x": "y" * 70_000}), 400, "workflow_params and data_location_hints have at most"),
        (document(data_location_hints="here"), 400, "data_location_hints must be an object"),
    ],
)
def test_documents_that_make_no_sense(http_of: Clients, body: object, status: int, detail: str) -> None:
    """Each has an answer that says what is wrong, in the form that the client reads."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = http_of("bob").post("/v1/jobs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(detail), answer.text


def test_other_types_verbs_and_queries(http_of: Clients) -> None:
    bob = http_of("bob")
    assert bob.post("/v1/jobs", data={"job_id": "x"}).status_code == 415
    wrong_verb = bob.delete("/v1/jobs/x")
    assert wrong_verb.status_code == 405 and "possible: GET" in wrong_verb.json()["detail"]
    for query in (
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=1&limit=2",
        "offset=-1",
        "offset=10001",
        "state=LOST",
        "x=1",
    ):
        answer = bob.get(f"/v1/jobs?{query}")
        assert answer.status_code == 400 and "detail" in answer.json(), query
    page = bob.get("/v1/jobs/absent", headers={"accept": "text/html"})
    assert page.status_code == 404 and page.json() == {"detail": "You have no job 'absent'."}
    for name in ("a" * 5000, "%00", "a%00b", "%ff", "..%2f..%2fasync", "%27%3b--", "%0d%0aX:1"):
        answer = bob.get(f"/v1/jobs/{name}")
        assert answer.status_code == 404, answer.text
        assert bob.post(f"/v1/jobs/{name}/cancel").status_code == 404


def test_a_quota_is_402(http_of: Clients) -> None:
    """An administrator of this service may run nothing, by its group's quota."""
    answer = http_of("root").post("/v1/jobs", json=document())
    assert answer.status_code == 402
    assert answer.json() == {"detail": "You may store jobs here, but none of yours may run."}


def test_variables_do_not_reach_the_runner(broker_of: Brokers) -> None:
    """They are there in the container alone; outside they would choose what runs."""
    environment = {"PATH": "/nowhere", "PYTHONPATH": "/nowhere", "BASH_ENV": "/nowhere", "TMPDIR": "/nowhere"}
    job = broker_of("alice").run("/bin/echo $PATH $BASH_ENV", env=environment)
    assert until(job, "COMPLETE", "EXECUTOR_ERROR") == "COMPLETE", job.raw_status()
    assert "/nowhere /nowhere" in job.logs()


def test_the_machine_is_not_in_the_container(broker_of: Brokers) -> None:
    job = broker_of("alice").run("cat /etc/passwd")
    assert until(job, "COMPLETE", "EXECUTOR_ERROR") == "EXECUTOR_ERROR"
    assert "can't open '/etc/passwd'" in job.logs()


def test_what_is_kept_is_told(broker_of: Brokers, http_of: Clients) -> None:
    """Metadata and hints stay with the job, which says that nothing acts on them."""
    posted = document(
        "with-metadata",
        workflow_params={"out_dataset": "ska:out", "rucio_dids": []},
        data_location_hints={"ip_address": "192.0.2.7"},
    )
    assert http_of("bob").post("/v1/jobs", json=posted).status_code == 201
    status = broker_of("bob").job("with-metadata").raw_status()
    (notice,) = status["details"]["notices"]
    assert notice == "out_dataset, data_location_hints: kept with the job as METADATA; nothing here acts on it."
    parameters = http_of("bob").get(f"{status['details']['uws_job']}/parameters/METADATA").text
    assert json.loads(parameters) == {"out_dataset": "ska:out", "data_location_hints": {"ip_address": "192.0.2.7"}}


def test_a_name_is_free_again_after_its_job(broker_of: Brokers, http_of: Clients) -> None:
    job = broker_of("alice").run("true", job_id="again")
    until(job, "COMPLETE")
    status = job.raw_status()
    assert http_of("alice").delete(status["details"]["uws_job"]).status_code == 303
    assert http_of("alice").get("/v1/jobs/again").status_code == 404
    second = broker_of("alice").run("true", job_id="again")
    assert second.raw_status()["run_id"] != status["run_id"]


def test_many_repeats_at_once_are_one_job(http_of: Clients) -> None:
    """Submissions that meet each other find the same job."""
    from concurrent.futures import ThreadPoolExecutor

    alice = http_of("alice")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.post("/v1/jobs", json=document("at-once")), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    deadline = time.monotonic() + 60
    while alice.get("/v1/jobs/at-once").json()["state"] != "COMPLETE":
        assert time.monotonic() < deadline
        time.sleep(0.1)
