"""What a runner of one site may not do, tried over HTTP at a real service with two such sites."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.runner.programs import Program, until
from tests.server import Server
from tests.service.client import Uws, job_id
from uws_service.sites.remote.keys import digest_of, new_key

KEYS = {"alpha": new_key(), "beta": new_key()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attacks")
    program = Program(folder)
    sites = [{"name": name, "kind": "remote", "slots": 50, "keys": [digest_of(key)]} for name, key in KEYS.items()]
    config = {"applications": [str(program.descriptor)], "builtin_applications": False, "sites": sites}
    server = Server(folder / "service", config=json.dumps(config))
    server.start()
    yield server
    server.stop()


class Voice:
    """Somebody who calls as the runner of a site."""

    def __init__(self, server: Server, site: str, key: str | None = None) -> None:
        self.http = httpx2.Client(timeout=60)
        self.root = f"{server.url}/runner/v1/{site}"
        self.headers = {"authorization": f"Bearer {key or KEYS[site]}"}
        self.runner = secrets.token_hex(16)
        self.sequence = 0

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.http.request(method, f"{self.root}/{path}", headers=headers, **options)

    def open(self) -> httpx2.Response:
        content = {"protocol": 1, "runner": self.runner, "host": "x", "kind": "local", "bound": False}
        answer = self.call("POST", "session", json=content)
        if answer.status_code == 200:
            self.headers["x-uws-runner"] = f"{self.runner} {answer.json()['epoch']}"
        return answer

    def report(self, **content: Any) -> httpx2.Response:
        self.sequence += 1
        return self.call("POST", "report", json={"sequence": self.sequence, **content})

    def close(self) -> None:
        self.call("DELETE", "session")
        self.http.close()


@pytest.fixture
def alpha(server: Server) -> Iterator[Voice]:
    voice = Voice(server, "alpha")
    assert voice.open().status_code == 200
    assert voice.report(present=[]).status_code == 200
    yield voice
    voice.close()


@pytest.fixture
def beta(server: Server) -> Iterator[Voice]:
    voice = Voice(server, "beta")
    assert voice.open().status_code == 200
    yield voice
    voice.close()


def job_at(alpha: Voice, server: Server, **parameters: str) -> tuple[str, dict[str, Any]]:
    """Return the URL of a job that is ordered at site alpha, and the order."""
    with Uws(server.url, "ledger") as uws:
        url = uws.create({"PHASE": "RUN", **parameters})
        uws.made.clear()

    def mine() -> Any:
        orders = alpha.call("POST", "orders", json={"after": 0, "wait": 1}).json()["orders"]
        return next((order for order in orders if order["job"] == job_id(url)), None)

    return url, until(mine, "the order")


@pytest.mark.parametrize("path", ["session", "orders", "report", f"attempts/{'0' * 32}/1/data"])
@pytest.mark.parametrize("site", ["alpha", "nowhere"])
def test_wrong_keys(server: Server, site: str, path: str) -> None:
    """The answer is the same for a site that there is not."""
    answers = set()
    for key in (new_key(), KEYS["beta"], digest_of(KEYS["alpha"]).removeprefix("sha256:"), "a.b.c"):
        voice = Voice(server, site, key)
        answer = voice.call("POST", path, json={})
        answers.add((answer.status_code, answer.text))
        voice.http.close()
    assert answers == {(401, "This is no key of the runner of this site.")}
    assert httpx2.post(f"{server.url}/runner/v1/{site}/{path}", json={}).status_code == 401


def test_second_session_and_old_session(server: Server, alpha: Voice) -> None:
    second = Voice(server, "alpha")
    refusal = second.open()
    second.http.close()
    assert refusal.status_code == 403 and "has a runner" in refusal.text
    old = dict(alpha.headers)
    assert alpha.open().status_code == 200  # the same folder again, as after a restart
    fresh, alpha.headers = alpha.headers, old
    for path in ("orders", "report"):
        assert alpha.call("POST", path, json={"sequence": 1}).status_code == 409
    alpha.headers = {**fresh, "x-uws-runner": f"{alpha.runner} 999999"}
    assert alpha.report().status_code == 409
    alpha.headers = {**fresh, "x-uws-runner": "nonsense"}
    assert alpha.report().status_code == 400
    alpha.headers = fresh


def test_a_runner_speaks_for_its_own_site_alone(server: Server, alpha: Voice, beta: Voice) -> None:
    url, order = job_at(alpha, server)
    attempt = f"attempts/{order['job']}/1"
    entry = {"job": order["job"], "attempt": 1, "seen": "SUCCEEDED", "handed": {}}
    done = [{"job": order["job"], "attempt": 1, "order": order["order"]}]
    answer = beta.report(changed=[entry], speaks=[[order["job"], 1]], done=done)
    assert answer.json()["foreign"] == [[order["job"], 1]]
    digest = hashlib.sha256(b"x").hexdigest()
    headers = {"x-content-sha256": digest}
    assert beta.call("PUT", f"{attempt}/logs/stdout", content=b"x", headers=headers).status_code == 403
    assert beta.call("PUT", f"{attempt}/live/stdout", content=b"x", headers=headers).status_code == 403
    assert beta.call("POST", f"{attempt}/data").status_code == 403
    assert beta.call("GET", f"{attempt}/inputs/0").status_code == 403
    assert beta.call("POST", f"{attempt}/agents/site/claim", json={}).status_code == 403
    assert beta.call("PUT", f"{attempt}/agents/site/outputs/answer", content=b"x", headers=headers).status_code == 403
    assert beta.call("POST", f"{attempt}/agents/site/report", json={}).status_code == 403
    assert alpha.call("POST", "orders", json={"after": 0}).json()["orders"]  # nothing of it was done
    with Uws(server.url, "ledger") as uws:
        assert uws.phase(url) == "QUEUED"
        uws.http.delete(url)


def test_files_are_checked_and_bounded(server: Server, alpha: Voice) -> None:
    url, order = job_at(alpha, server)
    attempt = f"attempts/{order['job']}/1"
    entry = {"job": order["job"], "attempt": 1, "seen": "RUNNING", "started": 1_700_000_000_000}
    done = [{"job": order["job"], "attempt": 1, "order": order["order"]}]
    assert alpha.report(changed=[entry], done=done, speaks=[[order["job"], 1]]).json() == {"foreign": []}
    digest = {"x-content-sha256": hashlib.sha256(b"x").hexdigest()}
    log = f"{attempt}/logs"
    assert alpha.call("PUT", f"{log}/stdout", content=b"y", headers=digest).status_code == 400
    assert alpha.call("PUT", f"{log}/passwd", content=b"x", headers=digest).status_code == 400
    assert alpha.call("PUT", f"{log}/..%2Fx", content=b"x", headers=digest).status_code in (400, 404)
    too_large = b"x" * (1024 * 1024 + 1)
    headers = {"x-content-sha256": hashlib.sha256(too_large).hexdigest()}
    assert alpha.call("PUT", f"{attempt}/live/stdout", content=too_large, headers=headers).status_code == 413
    output = f"{attempt}/agents/site/outputs"
    assert alpha.call("PUT", f"{output}/answer", content=b"y", headers=digest).status_code == 400
    assert alpha.call("PUT", f"{attempt}/agents/a b/outputs/answer", content=b"x", headers=digest).status_code == 400
    named = {"outputs": [{"id": "answer", "media_type": "text/plain", "size": 1, "sha256": digest["x-content-sha256"]}]}
    assert alpha.call("POST", f"{attempt}/agents/site/report", json=named).status_code == 400  # not handed over
    assert alpha.call("POST", "report", content=b"[" * 100_000).status_code == 400
    assert alpha.call("POST", "report", content=b" " * (5 * 1024 * 1024)).status_code == 413
    assert alpha.call("GET", f"{attempt}/inputs/0").status_code == 404
    with Uws(server.url, "ledger") as uws:
        uws.http.delete(url)


def test_nothing_counts_after_the_end(server: Server, alpha: Voice) -> None:
    """An attempt that was given up is refused, whatever the runner says later."""
    url, order = job_at(alpha, server)
    with Uws(server.url, "ledger") as uws:
        assert uws.post(f"{url}/phase", {"PHASE": "ABORT"}).status_code == 303
        assert uws.phase(url) == "ABORTED"
        key = {"job": order["job"], "attempt": 1}

        def ends() -> bool:
            for item in alpha.call("POST", "orders", json={"after": 0, "wait": 1}).json()["orders"]:
                if item["job"] == order["job"]:
                    alpha.report(done=[{**key, "order": item["order"]}])
                    alpha.report(absent=[[order["job"], 1]])
                    return bool(item["do"] == "forget")
            return False

        until(ends, "the order to forget it")
        late = alpha.report(changed=[{**key, "seen": "SUCCEEDED", "handed": {}}], speaks=[[order["job"], 1]])
        assert late.json()["foreign"] == [[order["job"], 1]]
        digest = {"x-content-sha256": hashlib.sha256(b"x").hexdigest()}
        attempt = f"attempts/{order['job']}/1"
        for path in ("logs/stdout", "agents/site/outputs/answer"):
            assert alpha.call("PUT", f"{attempt}/{path}", content=b"x", headers=digest).status_code == 403
        assert alpha.call("POST", f"{attempt}/agents/site/claim", json={}).status_code == 403
        assert uws.phase(url) == "ABORTED"


def test_a_key_is_no_caller(server: Server, alpha: Voice) -> None:
    """It opens nothing but the runner's own resources."""
    for path in ("agent/v1/claim", "agent/v1/report"):
        assert httpx2.post(f"{server.url}/{path}", headers=alpha.headers, json={}).status_code == 401
    assert KEYS["alpha"] not in server.log.read_text()
    digest = digest_of(KEYS["alpha"]).removeprefix("sha256:")
    assert digest not in server.log.read_text()
