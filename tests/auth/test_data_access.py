"""Jobs that fetch data with tokens of a real issuer."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.server import ROOT, Server
from uws_service.applications import check, launch
from uws_service.auth.claims import _segment
from uws_service.auth.encryption import key_in, lock, unlock
from uws_service.auth.settings import Auth
from uws_service.configuration import applications_of
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import ConfigurationError, Forbidden
from uws_service.domain.job import Parameter
from uws_service.runtime import running
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.settings import Settings
from uws_service.sites.kubernetes.manifest import job_manifest
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.store.attempts import Take

FOLDER = Path(__file__).parent
AUDIENCE = "https://data.example.org"
REDIRECTS = ("http://127.0.0.1:1/login/callback",)
CONTENT = b"x" * 4321


class Archive:
    """A server of a file that needs a token; it records requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.leads_to = ""
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                header = self.headers.get("Authorization", "")
                archive.requests.append((self.path, header))
                if self.path == "/leads":
                    self.send_response(302)
                    self.send_header("location", archive.leads_to)
                    self.end_headers()
                    return
                good = self.path == "/open" or archive.is_good(header)
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
    def is_good(header: str) -> bool:
        """Return whether a token is for this archive."""
        if not header.startswith("Bearer "):
            return False
        claims = _segment(header.split(".")[1])
        return bool(
            claims["aud"] == AUDIENCE and claims["scope"] == "storage.read" and claims["exp"] > time.time() - 30
        )

    def tokens(self) -> list[str]:
        """Return all tokens that came."""
        return [header.removeprefix("Bearer ") for _, header in self.requests if header]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    """Yield the host that the settings name."""
    running = Archive()
    yield running
    running.close()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Archive]:
    """Yield a host that the settings do not name."""
    running = Archive()
    yield running
    running.close()


@contextmanager
def service(folder: Path, issuer: OidcProvider, archive: Archive, **changes: Any) -> Iterator[Server]:
    """Yield a service whose jobs get tokens for the archive."""
    client = {"client_id": CLIENT, "client_secret": SECRET}
    auth = {
        "issuers": [issuer.settings(**client)],
        "data_access": [{"hosts": [archive.host], "audience": AUDIENCE, "scopes": ["storage.read"]}],
        "applications": {"fetcher": {"anonymous": True}},
        "administrators": [f"other@127.0.0.1:{issuer.port}"],
        "timeout": 1,
        **changes,
    }
    settings = {
        "UWS_APPLICATIONS": json.dumps([str(PROBE), str(FOLDER / "fetcher.yaml"), str(FOLDER / "asker.yaml")]),
        "UWS_SITES": '[{"name": "local", "slots": 1}]',
        "UWS_FETCH": '{"allow_private": true}',
        "UWS_LOG_FORMAT": "json",
        "UWS_LOG_LEVEL": "debug",
        "UWS_AUTH": json.dumps(auth),
    }
    server = Server(folder, settings, warm=False)  # a test looks at its environment
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """Yield an issuer that gives refresh tokens."""
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
        return httpx2.post(f"{self.server.url}/{application}/async", data=data, headers=self.headers, timeout=180)

    def run(self, application: str, **data: str) -> str:
        created = self.post(application, PHASE="RUN", **data)
        assert created.status_code == 303, created.text
        return str(created.headers["location"])

    def get(self, url: str) -> httpx2.Response:
        return httpx2.get(url, headers=self.headers, timeout=180)

    def wait(self, job: str, *phases: str) -> str:
        expected = phases or ("COMPLETED", "ERROR", "ABORTED")
        return str(eventually(lambda: (phase := self.get(f"{job}/phase").text) in expected and phase))


def eventually(condition: Callable[[], Any], seconds: float = 180) -> Any:
    """Return the first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it does not happen")


def grants(server: Server) -> list[tuple[Any, ...]]:
    """Return the rows of all stored tokens."""
    with sqlite3.connect(f"file:{server.folder}/data/uws.db?mode=ro", uri=True) as database:
        return database.execute("SELECT * FROM data_grant").fetchall()


def test_a_file_that_needs_a_token(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """The agent fetches it with a token for that host."""
    user = User(ready, issuer.token("robot"))
    job = user.run("fetcher", FILE=f"{archive.url}/file")
    assert user.wait(job) == "COMPLETED", user.get(f"{job}/error").text
    text = user.get(f"{job}/results/result").text
    assert text.startswith(f"{len(CONTENT)} ")
    path, header = archive.requests[-1]
    assert path == "/file" and archive.is_good(header)
    token = header.removeprefix("Bearer ")
    assert token != user.token and _segment(token.split(".")[1])["sub"] == "robot"
    assert token not in text and "BEARER" not in text
    assert not grants(ready)


def test_without_a_token_of_the_owner(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """Only the owner's own token is exchanged."""
    nobody = User(ready, None)
    before = len(archive.tokens())
    job = nobody.run("fetcher", FILE=f"{archive.url}/file")
    assert nobody.wait(job) == "ERROR"
    error = nobody.get(f"{job}/error").text
    assert "answered 401" in error and "Traceback" not in error
    assert nobody.wait(nobody.run("fetcher", FILE=f"{archive.url}/open")) == "COMPLETED"
    robot, admin = User(ready, issuer.token("robot")), User(ready, issuer.token("other"))
    for maker in (robot, nobody):
        created = maker.post("fetcher", FILE=f"{archive.url}/file")
        job = created.headers["location"]
        started = httpx2.post(f"{job}/phase", data={"PHASE": "RUN"}, headers=admin.headers)
        assert started.status_code == 303 and admin.wait(job) == "ERROR"
    assert len(archive.tokens()) == before


def test_hosts_that_are_not_meant(ready: Server, issuer: OidcProvider, archive: Archive, stranger: Archive) -> None:
    """Other hosts get no token, also not by redirect."""
    user = User(ready, issuer.token("robot"))
    archive.leads_to = f"{stranger.url}/open"
    for url in (f"{stranger.url}/open", f"{archive.url}/leads", f"http://{archive.host}@{stranger.host}/open"):
        assert user.wait(user.run("fetcher", FILE=url)) == "COMPLETED", url
    assert len(stranger.requests) == 3 and not stranger.tokens()


def test_a_token_for_the_command(ready: Server, issuer: OidcProvider) -> None:
    """A command that asks for a token gets it in a file."""
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


def test_an_issuer_that_says_no(tmp_path: Path, issuer: OidcProvider, archive: Archive) -> None:
    """The answer names the issuer; no job is made."""
    wrong = [{"hosts": [archive.host], "audience": "https://other.example.org", "scopes": ["storage.read"]}]
    with service(tmp_path, issuer, archive, data_access=wrong) as server:
        user = User(server, issuer.token("robot"))
        refused = user.post("fetcher", PHASE="RUN", FILE=f"{archive.url}/file")
        assert refused.status_code == 403
        assert "https://other.example.org" in refused.text and "invalid_target" in refused.text
        assert (user.token or "") not in refused.text
        assert "<uws:jobref" not in user.get(f"{server.url}/fetcher/async").text
        pending = user.post("fetcher", FILE=f"{archive.url}/file").headers["location"]
        assert httpx2.post(f"{pending}/phase", data={"PHASE": "RUN"}, headers=user.headers).status_code == 403
        assert user.get(f"{pending}/phase").text == "PENDING" and not grants(server)


def test_an_issuer_that_is_down_at_the_start(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """503 with Retry-After; nothing is half done."""
    user = User(ready, issuer.token("robot"))
    pending = user.post("fetcher", FILE=f"{archive.url}/file").headers["location"]
    before = user.get(f"{ready.url}/fetcher/async").text
    issuer.pause()
    try:
        for answer in (
            user.post("fetcher", PHASE="RUN", FILE=f"{archive.url}/file"),
            httpx2.post(f"{pending}/phase", data={"PHASE": "RUN"}, headers=user.headers, timeout=180),
        ):
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0, answer.text
            assert "can't be asked now for access to data" in answer.text and "Traceback" not in answer.text
        assert user.get(f"{ready.url}/fetcher/async").text == before
        assert user.get(f"{pending}/phase").text == "PENDING" and not grants(ready)
    finally:
        issuer.go_on()
    started = httpx2.post(f"{pending}/phase", data={"PHASE": "RUN"}, headers=user.headers)
    assert started.status_code == 303 and user.wait(pending) == "COMPLETED"


@pytest.mark.parametrize("refresh", [True, False], ids=["refresh token", "caller's token"])
def test_a_job_that_waits_longer_than_its_token(
    tmp_path: Path, archive: Archive, stranger: Archive, refresh: bool
) -> None:
    """Renewed while it waits; while the issuer is down it waits on and says why; refused for good is an error.

    All the while the database holds no token that can be read.
    """
    issuer = OidcProvider(tmp_path / "issuer", redirects=REDIRECTS, data_ttl=20, data_refresh=refresh)
    issuer.start()
    try:
        with service(tmp_path, issuer, archive) as server:
            user = User(server, issuer.token("robot"))
            first = user.run("fetcher", FILE=f"{stranger.url}/open", SECONDS="60")
            assert user.wait(first, "EXECUTING")
            second = user.run("fetcher", FILE=f"{archive.url}/file")
            third = user.run("fetcher", FILE=f"{archive.url}/file")
            rows = {row[0]: row for row in grants(server)}
            assert len(rows) == 2
            assert (user.token or "") not in str(rows) and "access" not in str(rows)
            job_id = second.rpartition("/")[2]
            eventually(lambda: {row[0]: row for row in grants(server)}[job_id][2] != rows[job_id][2])
            httpx2.delete(first, headers=user.headers)
            assert user.wait(second) == "COMPLETED", user.get(f"{second}/error").text
            assert user.wait(third) == "COMPLETED", user.get(f"{third}/error").text
            assert not grants(server)
            if not refresh:
                return  # what follows would be the same

            first = user.run("fetcher", FILE=f"{stranger.url}/open", SECONDS="60")
            assert user.wait(first, "EXECUTING")
            second = user.run("fetcher", FILE=f"{archive.url}/file")
            issuer.pause()
            ends = next(row[3] for row in grants(server) if row[0] == second.rpartition("/")[2])
            eventually(lambda: time.time() * 1000 > ends)
            httpx2.delete(first, headers=user.headers)
            headers = {**user.headers, "Accept": "application/json"}

            def waits() -> bool:
                info = httpx2.get(second, headers=headers).text
                return "access to data" in info

            eventually(waits)
            assert user.get(f"{second}/phase").text == "QUEUED"
            issuer.go_on()
            assert user.wait(second) == "COMPLETED", user.get(f"{second}/error").text

            first = user.run("fetcher", FILE=f"{stranger.url}/open", SECONDS="60")
            assert user.wait(first, "EXECUTING")
            second = user.run("fetcher", FILE=f"{archive.url}/file")
            issuer.stop()
            issuer.start()  # with new keys and without memory: it knows neither token any more
            eventually(lambda: time.time() * 1000 > rows_end(server, second))
            httpx2.delete(first, headers=user.headers)
            assert eventually(lambda: "ERROR" in httpx2.get(f"{second}/phase", headers=user.headers).text)
            error = user.get(f"{second}/error").text
            assert "access to data" in error and "Run the job again" in error and "Traceback" not in error
            assert not grants(server)
    finally:
        issuer.stop()


def test_a_service_that_is_killed(tmp_path: Path, issuer: OidcProvider, archive: Archive, stranger: Archive) -> None:
    """A waiting job keeps its access; sessions give none."""
    with service(tmp_path, issuer, archive) as server:
        user = User(server, issuer.token("robot"))
        first = user.run("fetcher", FILE=f"{stranger.url}/open", SECONDS="60")
        assert user.wait(first, "EXECUTING")
        second = user.run("fetcher", FILE=f"{archive.url}/file")
        server.kill()
        server.start()
        httpx2.delete(first, headers=user.headers)
        assert user.wait(second) == "COMPLETED", user.get(f"{second}/error").text
        with httpx2.Client() as browser:
            assert browser.post(f"{server.url}/login", data={"password": user.token or ""}).status_code == 200
            data = {"PHASE": "RUN", "FILE": f"{archive.url}/file"}
            third = browser.post(f"{server.url}/fetcher/async", data=data).headers["location"]
        assert user.wait(third) == "ERROR" and "answered 401" in user.get(f"{third}/error").text


def rows_end(server: Server, job: str) -> int:
    """Return when a job's token expires, in milliseconds."""
    return next((int(row[3]) for row in grants(server) if row[0] == job.rpartition("/")[2]), 0)


def test_nothing_of_it_is_left_behind(ready: Server, issuer: OidcProvider, archive: Archive) -> None:
    """No token of the tests above is in logs, database or files."""
    user = User(ready, issuer.token("robot"))
    assert user.wait(user.run("fetcher", FILE=f"{archive.url}/file")) == "COMPLETED"
    running = user.run("fetcher", FILE=f"{archive.url}/file", SECONDS="50")
    assert user.wait(running, "EXECUTING")
    secrets = {*archive.tokens(), user.token or ""}
    assert len(secrets) >= 3
    files = [path for path in (ready.folder, issuer.folder) for path in path.rglob("*") if path.is_file()]
    assert any("uws.db" in path.name for path in files) and any(path.name == "spec.json" for path in files)
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content and secret.rpartition(".")[2].encode() not in content, path
    environments = [
        (Path("/proc") / name / kind).read_bytes() for name in pids_below(ready) for kind in ("environ", "cmdline")
    ]
    assert len(environments) >= 4
    for content in environments:
        assert not any(secret.encode() in content for secret in secrets)
    key = ready.folder / "data" / "sealing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(f"file:{ready.folder}/data/uws.db?mode=ro", uri=True) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content = b"\n".join(
            str(row).encode() for table in tables for row in database.execute(f'SELECT * FROM "{table}"')
        )
    assert key.read_bytes() not in content and SECRET.encode() not in content
    for secret in secrets:
        assert secret.encode() not in content
    for page in ("", "/parameters", "/results", "/logs/stdout", "/logs/stderr"):
        page_text = user.get(running + page).text
        assert not any(secret in page_text for secret in secrets)
    httpx2.delete(running, headers=user.headers)
    assert "Traceback" not in ready.log.read_text()


def pids_below(server: Server) -> list[str]:
    """Return the processes of the service's agents and commands."""
    mark = str(server.folder / "data").encode()
    pids = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if mark in (path / "environ").read_bytes() + (path / "cmdline").read_bytes():
                    pids.append(path.name)
            except OSError:
                continue
    return pids


@contextmanager
def upstream(claim: dict[str, Any]) -> Iterator[str]:
    """Serve the agents' resources with this answer to a claim."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(claim).encode() if self.path.endswith("/claim") else b"null"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def pod_of(folder: Path, claim: dict[str, Any]) -> Path:
    """Return a pod's files once its command could start."""
    root = folder / "pod"
    for name in ("input", "output", "progress", "agent", "bin"):
        (root / name).mkdir(parents=True)
    (root / "token").write_text("of the pod")
    with upstream(claim) as url, (folder / "agent.log").open("wb") as log:
        environment = {"UWS_AGENT_URL": url, "UWS_AGENT_TOKEN": str(root / "token"), "UWS_AGENT_ROOT": str(root)}
        environment["UWS_AGENT_LAUNCHER"] = sys.executable  # nothing is run in this pod
        agent = subprocess.Popen(
            [sys.executable, "-m", "uws_service.agent.pod"],
            env={**environment, "PYTHONPATH": str(ROOT)},
            stderr=log,
        )
        try:
            eventually((root / "agent" / "ready").exists)
        finally:
            agent.kill()
            agent.wait(120)
    return root


@pytest.mark.anyio
async def test_an_agent_in_a_pod(tmp_path: Path, issuer: OidcProvider, archive: Archive) -> None:
    """Tokens come with the claim, and end with the job."""
    auth = {
        "issuers": [issuer.settings(client_id=CLIENT, client_secret=SECRET)],
        "data_access": [{"hosts": [archive.host], "audience": AUDIENCE, "scopes": ["storage.read"]}],
    }
    settings = Settings.load(
        data=tmp_path / "data",
        auth=auth,
        applications=[FOLDER / "fetcher.yaml"],
        controller=False,
        fetch={"allow_private": True},
    )
    token = issuer.token("robot")
    async with running(settings) as runtime:
        assert runtime.user_tokens is not None
        identity, _ = await runtime.user_tokens.verify(token)
        request = Request(parameters=(Parameter("FILE", f"{archive.url}/file"),), run=True)
        application = runtime.applications["fetcher"]
        job, _ = await runtime.service.create(application, Caller(identity, token=token), request)
        (attempt,) = await runtime.store.attempts.of(job.id)
        assert await runtime.store.attempts.begin(attempt, Take(attempt.site, 1))
        pod = AgentIdentity(frozenset({"local"}), job.id, 1, "pod-1")
        claim = await runtime.agents.claim(pod)
        tokens = claim["data"]["tokens"]
        assert list(tokens) == [archive.host] and tokens[archive.host] != token and claim["data"]["command"] is None
        manifest = json.dumps(
            job_manifest(
                launch(application, job, check(application, job.parameters), 1),
                KubernetesSite(name="a", kind="kubernetes", namespace="n", agent_url="https://x", agent_image="i"),
                "instance",
            )
        )
        assert tokens[archive.host] not in manifest and token not in manifest
        await runtime.service.abort("fetcher", job.id, Caller(identity))
        assert not await runtime.store.grants.of(job.id)
        with pytest.raises(Forbidden):
            await runtime.agents.claim(pod)
    before = len(archive.tokens())
    root = pod_of(tmp_path, claim)
    assert (root / "input" / "files" / "FILE").read_bytes() == CONTENT
    assert archive.tokens()[before:] == [tokens[archive.host]]
    for path in (*root.rglob("*"), tmp_path / "agent.log"):
        assert path.is_dir() or tokens[archive.host].encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hosts": ["https://data.example.org"]}, "no scheme"),
        ({"hosts": ["*.example.org"]}, "no scheme, path or wildcard"),
        ({"hosts": ["a.example.org", "A.example.org:443"]}, "names a host twice"),
        ({"issuer": "https://other.example.org"}, "no URL of an issuer with client_id"),
    ],
)
def test_settings_that_can_not_be(changes: dict[str, Any], words: str) -> None:
    """Messages say what is wrong and what is allowed."""
    issuer = {"url": "https://iam.example.org", "audience": "uws-api", "client_id": "uws"}
    data = {"hosts": ["data.example.org"], "audience": AUDIENCE, **changes}
    with pytest.raises(ValueError, match=words):
        Auth.model_validate({"issuers": [issuer], "data_access": [data]})
    with pytest.raises(ValueError, match="needs an issuer with client_id"):
        Auth.model_validate({"data_access": [{"hosts": ["data.example.org"], "audience": AUDIENCE}]})


def test_a_key_that_processes_do_not_share(tmp_path: Path) -> None:
    """With PostgreSQL the key must be in the settings."""
    issuer = {"url": "https://iam.example.org", "audience": "uws-api", "client_id": "uws"}
    auth = {"issuers": [issuer], "data_access": [{"hosts": ["data.example.org"], "audience": AUDIENCE}]}
    overrides: dict[str, Any] = {"data": tmp_path, "database": "postgresql://127.0.0.1:1/none"}
    with pytest.raises(ConfigurationError, match="sealing_key is missing"):
        applications_of(Settings.load(auth=auth, **overrides))
    settings = Settings.load(auth={**auth, "sealing_key": "x" * 32}, **overrides)
    assert applications_of(settings) and "x" * 32 not in repr(settings)
    with pytest.raises(ConfigurationError, match="sealing_key") as error:
        Settings.load(auth={**auth, "sealing_key": "short one"}, **overrides)
    assert "short one" not in error.value.message


def test_what_is_locked() -> None:
    """Values open only unchanged, with key and purpose."""
    locked = lock(b"key", "job 1", "secret")
    assert "secret" not in locked and lock(b"key", "job 1", "secret") != locked
    assert unlock(b"key", "job 1", locked) == "secret"
    for key, purpose, text in ((b"other", "job 1", locked), (b"key", "job 2", locked), (b"key", "job 1", "AAAA"),
                               (b"key", "job 1", locked[:-8] + "AAAAAAA=")):  # fmt: skip
        assert unlock(key, purpose, text) is None


def test_a_key_that_two_make_at_once(tmp_path: Path) -> None:
    """Both get the same one."""
    file = tmp_path / "key"
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: key_in(file), range(16)))) == 1
    assert file.stat().st_mode & 0o777 == 0o600 and [path.name for path in tmp_path.iterdir()] == ["key"]
