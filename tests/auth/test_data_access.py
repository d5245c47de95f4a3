"""Access to data for jobs: a real issuer exchanges tokens, a server of files asks for them, a service runs jobs."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from tests.auth.conftest import PROBE
from tests.issuers import CLIENT, SECRET, OidcProvider
from tests.server import Server
from uws_service.auth.claims import _segment

HERE = Path(__file__).parent
AUDIENCE = "https://data.example.org"
REDIRECTS = ("http://127.0.0.1:1/login/callback",)
CONTENT = b"x" * 4321


class Archive:
    """Serves a file to whoever brings a token for it; remembers every Authorization that it was sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.leads_to = ""
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.headers.get("Authorization", "")
                archive.seen.append((self.path, sent))
                if self.path == "/leads":
                    self.send_response(302)
                    self.send_header("location", archive.leads_to)
                    self.end_headers()
                    return
                good = self.path == "/open" or archive.is_good(sent)
                self.send_response(200 if good else 401)
                self.send_header("content-length", str(len(CONTENT) if good else 0))
                self.end_headers()
                self.wfile.write(CONTENT if good else b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def is_good(sent: str) -> bool:
        """Whether a token was made for this archive; the issuer's signature is not what is tested here."""
        if not sent.startswith("Bearer "):
            return False
        claims = _segment(sent.split(".")[1])
        return claims["aud"] == AUDIENCE and claims["scope"] == "storage.read" and claims["exp"] > time.time()

    def tokens(self) -> list[str]:
        """All tokens that came."""
        return [sent.removeprefix("Bearer ") for _, sent in self.seen if sent]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    """The host that the settings name."""
    running = Archive()
    yield running
    running.close()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Archive]:
    """A host that the settings do not name."""
    running = Archive()
    yield running
    running.close()


@contextmanager
def service(folder: Path, issuer: OidcProvider, archive: Archive, **more: Any) -> Iterator[Server]:
    """A service whose jobs get tokens for the archive; one job runs at a time."""
    client = {"client_id": CLIENT, "client_secret": SECRET}
    auth = {
        "issuers": [issuer.settings(**client)],
        "data_access": [{"hosts": [archive.host], "audience": AUDIENCE, "scopes": ["storage.read"]}],
        "applications": {"fetcher": {"anonymous": True}},
        "administrators": [f"other@127.0.0.1:{issuer.port}"],
        "timeout": 1,
        **more,
    }
    settings = {
        "UWS_APPLICATIONS": json.dumps([str(PROBE), str(HERE / "fetcher.yaml"), str(HERE / "asker.yaml")]),
        "UWS_SITES": '[{"name": "local", "slots": 1}]',
        "UWS_FETCH": '{"allow_private": true}',
        "UWS_LOG_FORMAT": "json",
        "UWS_LOG_LEVEL": "debug",
        "UWS_AUTH": json.dumps(auth),
    }
    server = Server(folder, settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """One that gives refresh tokens with what it exchanges."""
    running = OidcProvider(tmp_path_factory.mktemp("exchange"), redirects=REDIRECTS)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, issuer: OidcProvider, archive: Archive) -> Iterator[Server]:
    with service(tmp_path_factory.mktemp("data"), issuer, archive) as server:
        yield server


class User:
    """A caller with a token, or without."""

    def __init__(self, server: Server, token: str | None) -> None:
        self.server = server
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def post(self, application: str, **data: str) -> httpx2.Response:
        return httpx2.post(f"{self.server.url}/{application}/async", data=data, headers=self.headers, timeout=30)

    def run(self, application: str, **data: str) -> str:
        made = self.post(application, PHASE="RUN", **data)
        assert made.status_code == 303, made.text
        return str(made.headers["location"])

    def get(self, url: str) -> httpx2.Response:
        return httpx2.get(url, headers=self.headers, timeout=30)

    def wait(self, job: str, *phases: str) -> str:
        wanted = phases or ("COMPLETED", "ERROR", "ABORTED")
        return str(eventually(lambda: (one := self.get(f"{job}/phase").text) in wanted and one))


def eventually(condition: Callable[[], Any], seconds: float = 40) -> Any:
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it does not happen")


def grants(server: Server) -> list[tuple[Any, ...]]:
    """The rows of all tokens that are kept."""
    with sqlite3.connect(f"file:{server.folder}/data/uws.db?mode=ro", uri=True) as database:
        return database.execute("SELECT * FROM data_grant").fetchall()


def test_a_file_that_needs_a_token(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """The agent brings it with a token of the caller's for that host alone; the job keeps nothing of it."""
    user = User(ready, issuer.token("robot"))
    job = user.run("fetcher", FILE=f"{archive.url}/file")
    assert user.wait(job) == "COMPLETED", user.get(f"{job}/error").text
    said = user.get(f"{job}/results/result").text
    assert said.startswith(f"{len(CONTENT)} ")
    path, sent = archive.seen[-1]
    assert path == "/file" and archive.is_good(sent)
    token = sent.removeprefix("Bearer ")
    assert token != user.token and _segment(token.split(".")[1])["sub"] == "robot"
    assert token not in said and "BEARER" not in said
    assert not grants(ready)


def test_without_a_token_of_the_owner(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """Nobody's job is fetched without one; whoever starts another's job lends nothing to it."""
    nobody = User(ready, None)
    before = len(archive.tokens())
    job = nobody.run("fetcher", FILE=f"{archive.url}/file")
    assert nobody.wait(job) == "ERROR"
    error = nobody.get(f"{job}/error").text
    assert "answered 401" in error and "Traceback" not in error
    assert nobody.wait(nobody.run("fetcher", FILE=f"{archive.url}/open")) == "COMPLETED"
    robot, admin = User(ready, issuer.token("robot")), User(ready, issuer.token("other"))
    for maker in (robot, nobody):
        made = maker.post("fetcher", FILE=f"{archive.url}/file")
        job = made.headers["location"]
        started = httpx2.post(f"{job}/phase", data={"PHASE": "RUN"}, headers=admin.headers)
        assert started.status_code == 303 and admin.wait(job) == "ERROR"
    assert len(archive.tokens()) == before


def test_hosts_that_are_not_meant(ready: Server, issuer: OidcProvider, archive: Archive, stranger: Archive) -> None:
    """Neither another host, nor one that the right host leads to, nor one that only looks like it."""
    user = User(ready, issuer.token("robot"))
    archive.leads_to = f"{stranger.url}/open"
    for url in (f"{stranger.url}/open", f"{archive.url}/leads", f"http://{archive.host}@{stranger.host}/open"):
        assert user.wait(user.run("fetcher", FILE=url)) == "COMPLETED", url
    assert len(stranger.seen) == 3 and not stranger.tokens()


def test_a_token_for_the_command(ready: Server, issuer: OidcProvider) -> None:
    """Only an application that asks for it by name; in a file, and in no environment."""
    user = User(ready, issuer.token("robot"))
    job = user.run("asker")
    assert user.wait(job) == "COMPLETED", user.get(f"{job}/error").text
    digest, dots = user.get(f"{job}/results/result").text.split()
    assert dots == "2" and digest != sha256((user.token or "").encode()).hexdigest()
    pending = user.post("asker").headers["location"]
    admin = User(ready, issuer.token("other"))
    refused = httpx2.post(f"{pending}/phase", data={"PHASE": "RUN"}, headers=admin.headers)
    assert refused.status_code == 403 and "its owner must start the job" in refused.text
    assert user.get(f"{pending}/phase").text == "PENDING"
