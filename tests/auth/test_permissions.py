"""SRCNet's Permissions API, spoken by a server of the test."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.auth.conftest import PROBE, auth_settings
from tests.issuers import NanoIdp
from tests.server import Server

Question = tuple[str, str, str, dict[str, Any]]


class Api:
    """A server that records questions: path, route, method, body."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.answer: tuple[int, bytes] = (200, b'{"is_authorised": true}')
        self.awake = Event()
        """Answers wait until it is set."""
        self.awake.set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert query["version"] == "1" and query["token"].count(".") == 2
                api.questions.append((parts.path, query["route"], query["method"], body))
                api.awake.wait()
                self.send_response(api.answer[0])
                self.send_header("content-length", str(len(api.answer[1])))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the service has waited long enough
                    self.wfile.write(api.answer[1])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    running = Api()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, nano: NanoIdp, api: Api) -> Iterator[Server]:
    """Yield a service that asks, and caches for a day."""
    permissions = {"url": api.url, "timeout": 15, "cache": 86400}
    settings = {
        "UWS_APPLICATIONS": f'["{PROBE}"]',
        "UWS_AUTH": json.dumps({**auth_settings(nano, None), "permissions": permissions}),
    }
    server = Server(tmp_path_factory.mktemp("guarded"), settings)
    server.start()
    yield server
    server.stop()


def test_what_is_asked(guarded: Server, nano: NanoIdp, api: Api) -> None:
    """Routes are sent as templates, after all local checks."""
    with httpx2.Client(headers={"Authorization": f"Bearer {nano.token('alice')}"}) as alice:
        api.questions.clear()
        url = f"{guarded.url}/probe/async"
        job = alice.post(url).headers["location"]
        name = job.rpartition("/")[2]
        assert alice.get(job).status_code == 200 and alice.get(url).status_code == 200
        assert alice.post(f"{job}/phase", data={"PHASE": "ABORT"}).status_code == 303
        route = "/api/v1/authorise/route/uws-api"
        assert api.questions == [
            (route, "/{application}/async", "POST", {"application": "probe"}),
            (route, "/{application}/async/{job_id}/phase", "POST", {"application": "probe", "job_id": name}),
        ]
        bob = {"Authorization": f"Bearer {nano.token('bob')}"}
        assert httpx2.delete(job, headers=bob).status_code == 403
        assert httpx2.delete(job).status_code == 401
        assert len(api.questions) == 2
        assert alice.post(url).status_code == 303  # remembered
        assert len(api.questions) == 2
        entered = httpx2.post(f"{guarded.url}/login", data={"password": nano.token("alice")})
        by_cookie = httpx2.post(url, cookies={"uws_session": entered.cookies["uws_session"]})
        assert by_cookie.status_code == 403 and "decides by token" in by_cookie.text
    assert httpx2.post(f"{guarded.url}/sleep/async").status_code == 303  # open to all: there is no token to ask about
    assert len(api.questions) == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, b'{"is_authorised": false}'), 403),
        ((401, b"{}"), 403),
        ((403, b"<html>"), 403),
        ((500, b"{}"), 503),
        ((200, b"<html>"), 503),
        ((200, b"[]"), 503),
        ((200, b'{"is_authorised": "yes"}'), 503),
        ((302, b'{"is_authorised": true}'), 503),
    ],
)
def test_answers(guarded: Server, nano: NanoIdp, api: Api, answer: tuple[int, bytes], status: int) -> None:
    """A refusal is 403, a fault 503; neither is cached."""
    headers = {"Authorization": f"Bearer {nano.token('carol')}"}
    url = f"{guarded.url}/probe/async"
    api.answer = answer
    try:
        refused = httpx2.post(url, headers=headers)
    finally:
        api.answer = (200, b'{"is_authorised": true}')
    assert refused.status_code == status, refused.text
    assert ("retry-after" in refused.headers) is (status == 503)
    assert httpx2.post(url, headers=headers).status_code == 303


def test_an_outage(guarded: Server, nano: NanoIdp, api: Api) -> None:
    """A slow API is 503; reading one's own jobs goes on."""
    token = nano.token("root")
    headers = {"Authorization": f"Bearer {token}"}
    api.awake.clear()
    try:
        assert httpx2.post(f"{guarded.url}/probe/async", headers=headers, timeout=180).status_code == 503
        assert httpx2.get(f"{guarded.url}/probe/async", headers=headers).status_code == 200
    finally:
        api.awake.set()
    log = Path(guarded.log).read_text()
    assert "can't be asked" in log and token.rpartition(".")[2] not in log


def test_a_rerun_is_a_new_job(guarded: Server, nano: NanoIdp, api: Api) -> None:
    """Who may read a job and make none does not make one by its record."""
    alice, root = (httpx2.Client(headers={"Authorization": f"Bearer {nano.token(name)}"}) for name in ("alice", "root"))
    with alice, root:
        job = alice.post(f"{guarded.url}/probe/async", data={"PHASE": "RUN"}).headers["location"]
        while alice.get(f"{job}/phase").text in ("QUEUED", "EXECUTING"):
            alice.get(f"{job}?WAIT=5")
        assert root.get(f"{job}/provenance").status_code == 200
        assert root.get(f"{guarded.url}/provsap", params={"ID": job}).status_code == 200
        api.questions.clear()
        api.answer = (200, b'{"is_authorised": false}')
        try:
            refused = root.post(f"{job}/rerun")
        finally:
            api.answer = (200, b'{"is_authorised": true}')
        assert refused.status_code == 403, refused.text
        asked = [(route, method) for _, route, method, _ in api.questions]
        assert asked == [("/{application}/async", "POST")]
        assert root.post(f"{job}/rerun").status_code == 303
