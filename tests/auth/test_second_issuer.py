"""A hostile second issuer, against a real service and issuer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.auth.conftest import PROBE
from tests.auth.test_tokens import DISCOVERY, refusal, verifier
from tests.issuers import AUDIENCE, CLIENT, SECRET, NanoIdp, OidcProvider
from tests.server import Server
from uws_service.auth import Identity
from uws_service.auth.settings import Auth
from uws_service.domain.errors import ServiceUnavailable, TooManyRequests
from uws_service.service.sessions import COOKIE, Sessions
from uws_service.store import Store

PROGRAMS = "/ska/programs"
"""The group of the honest issuer's programs, ``robot`` and ``other``."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, nano: NanoIdp, provider: OidcProvider) -> Iterator[Server]:
    """Yield a service that trusts oidc-provider first, then nanoidp.

    Groups in its settings name no issuer.
    """
    auth = {
        "issuers": [provider.settings(), nano.settings()],
        "administrator_groups": ["/ska/uws/admin"],
        "metrics_from": [],
        "applications": {"crossmatch": {"groups": [PROGRAMS]}, "sleep": {"scopes": ["uws"]}},
        "quotas": {"default": {"stored": 1000}, "groups": {PROGRAMS: {"stored": 100_000}}},
    }
    sites = [{"name": "closed", "access": {"groups": [PROGRAMS]}}, {"name": "open"}]
    settings = {"UWS_APPLICATIONS": f'["{PROBE}"]', "UWS_AUTH": json.dumps(auth), "UWS_SITES": json.dumps(sites)}
    server = Server(tmp_path_factory.mktemp("shared"), settings)
    server.start()
    yield server
    server.stop()


def client(token: str) -> httpx2.Client:
    return httpx2.Client(timeout=180, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def robot(provider: OidcProvider) -> Iterator[httpx2.Client]:
    with client(provider.token("robot")) as http:
        yield http


@pytest.fixture
def mallory(nano: NanoIdp, provider: OidcProvider) -> Iterator[httpx2.Client]:
    """Yield a caller of the second issuer, with the first one's groups."""
    host = f"127.0.0.1:{provider.port}"
    names = [PROGRAMS, "/ska/uws/admin"]
    groups = [*names, *(f"{name}@{host}" for name in names), *(f"{name}@{host}/" for name in names)]
    with client(nano.signed(sub="mallory", groups=groups, scope=f"uws uws@{host}")) as http:
        yield http


def created(http: httpx2.Client, url: str, **data: str) -> str:
    answer = http.post(url, data=data)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def ended(http: httpx2.Client, job: str) -> dict[str, Any]:
    """Return a job's document after its end."""
    while (phase := http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING"):
        http.get(f"{job}?WAIT=8&PHASE={phase}")
    document: dict[str, Any] = http.get(job, headers={"Accept": "application/json"}).json()
    return document


def test_administrators(shared: Server, robot: httpx2.Client, mallory: httpx2.Client, nano: NanoIdp) -> None:
    """Its groups make nobody an administrator."""
    job = created(robot, f"{shared.url}/probe/async")
    with httpx2.Client() as browser:
        token = mallory.headers["Authorization"].partition(" ")[2]
        assert browser.post(f"{shared.url}/login", data={"password": token}).status_code == 200
        for http in (mallory, browser):
            for method, path in (("GET", ""), ("POST", "/phase"), ("DELETE", ""), ("GET", "/shares")):
                assert http.request(method, job + path).status_code == 403, (method, path)
            assert http.get(f"{shared.url}/metrics").status_code == 403
    groups = mallory.get(f"{shared.url}/login").json()["caller"]["groups"]
    assert groups and all(group.endswith(f"@127.0.0.1:{nano.port}") for group in groups)


def test_shares(
    shared: Server, robot: httpx2.Client, mallory: httpx2.Client, nano: NanoIdp, provider: OidcProvider
) -> None:
    """A group is of the sharer's issuer, unless one is named."""
    job = created(robot, f"{shared.url}/probe/async")
    share = robot.post(f"{job}/shares", data={"GROUP": PROGRAMS})
    assert share.json()["group"] == f"{PROGRAMS}@127.0.0.1:{provider.port}"
    with client(provider.token("other")) as colleague:
        assert colleague.get(job).status_code == 200
        assert mallory.get(job).status_code == 403
        assert robot.delete(share.headers["location"]).status_code == 204
        foreign_share = robot.post(f"{job}/shares", data={"GROUP": f"{PROGRAMS}@127.0.0.1:{nano.port}"})
        assert foreign_share.status_code == 201
        assert mallory.get(job).status_code == 200
        assert colleague.get(job).status_code == 403
    refused = robot.post(f"{job}/shares", data={"GROUP": f"{PROGRAMS}@evil.example.org"})
    assert refused.status_code == 400 and f"127.0.0.1:{provider.port}" in refused.text


def test_applications_and_quotas(shared: Server, robot: httpx2.Client, mallory: httpx2.Client) -> None:
    for path in ("crossmatch", "sleep"):
        assert robot.post(f"{shared.url}/{path}/async").status_code == 303
        assert mallory.post(f"{shared.url}/{path}/async").status_code == 403
    large = {"TAG": "x" * 900}
    for http, status in ((robot, 303), (mallory, 403)):
        job = created(http, f"{shared.url}/probe/async", TAG="x" * 900)
        assert http.post(f"{shared.url}/probe/async", data=large).status_code == status
        http.delete(job)


def test_sites_and_accounts(
    shared: Server, robot: httpx2.Client, mallory: httpx2.Client, nano: NanoIdp, provider: OidcProvider
) -> None:
    """Sites and accounts tell the issuers' groups apart."""
    url = f"{shared.url}/probe/async"
    assert ended(robot, created(robot, url, SITE="closed", PHASE="RUN"))["phase"] == "COMPLETED"
    refused = ended(mallory, created(mallory, url, SITE="closed", PHASE="RUN"))
    assert refused["phase"] == "ERROR" and "its owner may not use it" in json.dumps(refused)
    assert ended(mallory, created(mallory, url, PHASE="RUN"))["phase"] == "COMPLETED"
    command = [sys.executable, "-m", "uws_service", "usage", "--by", "group", "--json"]
    printed = subprocess.run(
        [*command, "--data", str(shared.folder / "data")], capture_output=True, text=True, check=True
    ).stdout
    for port in (provider.port, nano.port):
        assert f"{PROGRAMS}@127.0.0.1:{port}" in printed


# --- sessions ------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_sessions_of_an_earlier_version(tmp_path: Path) -> None:
    """Their groups get the session's issuer; distrust ends them."""
    store = await Store.open(f"sqlite:///{tmp_path / 'uws.db'}", create=True)
    now = int(time.time() * 1000)
    first, second = "https://iam.example.org", "https://evil.example.org/"
    content = {"owner": "m@evil.example.org", "group": "/admin", "name": "", "scopes": [], "issuer": second}
    content["groups"] = ["/admin", "/admin@iam.example.org"]
    try:
        sessions = Sessions(store.access, b"k" * 32, lambda: now, [first, second])
        stored = await store.access.open_session("session", json.dumps(content), now, now + 60_000)
        new = await sessions.open(
            Identity("m@evil.example.org", groups=frozenset({"/a@x"}), issuer=second), now + 60_000
        )
        from uws_service.auth.signed_cookies import seal

        old = seal(b"k" * 32, COOKIE, stored)
        match = await sessions.find(f"{COOKIE}={old}".encode())
        assert match is not None
        assert match[0].groups == {"/admin@evil.example.org", "/admin@iam.example.org@evil.example.org"}
        assert match[0].group == "/admin@evil.example.org"
        fresh = await sessions.find(f"{COOKIE}={new}".encode())
        assert fresh is not None and fresh[0].groups == {"/a@x"}
        restricted = Sessions(store.access, b"k" * 32, lambda: now, [first])
        for value in (old, new):
            assert await restricted.find(f"{COOKIE}={value}".encode()) is None
    finally:
        await store.close()


# --- tokens that are no JWT ---------------------------------------------------------------------------------------


class BusyServer(ThreadingHTTPServer):
    """A server that many connections may wait for."""

    request_queue_size = 200


class Introspector:
    """An issuer that records tokens and answers once ``answers`` is set."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.answers = Event()
        introspector = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == DISCOVERY
                url = introspector.url
                self._send({"issuer": url, "jwks_uri": f"{url}/keys", "introspection_endpoint": f"{url}/introspect"})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                introspector.tokens += form["token"]
                introspector.answers.wait(60)
                self._send({"active": False})

            def _send(self, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it any longer
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = BusyServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def settings(self, **changes: Any) -> dict[str, Any]:
        client = {"client_id": CLIENT, "client_secret": SECRET}
        return {"url": self.url, "audience": AUDIENCE, "introspection": True, **client, **changes}


@contextmanager
def introspector() -> Iterator[Introspector]:
    issuer = Introspector()
    try:
        yield issuer
    finally:
        issuer.answers.set()
        issuer.server.shutdown()
        issuer.server.server_close()


def introspected(provider: OidcProvider, **changes: Any) -> dict[str, Any]:
    return provider.settings(introspection=True, client_id=CLIENT, client_secret=SECRET, **changes)


@pytest.mark.anyio
async def test_a_token_goes_to_one_issuer_only(provider: OidcProvider) -> None:
    """The prefix decides; JWTs and unknown prefixes go to nobody."""
    token = provider.token("robot", opaque=True)
    with introspector() as second:
        second.answers.set()
        settings = second.settings(token_prefix="second_"), introspected(provider, token_prefix=token[:3])
        async with verifier(*settings, cache=0) as tokens:
            identity, _ = await tokens.verify(token)
            assert identity.owner == f"robot@127.0.0.1:{provider.port}"
            for mangled in ("eyJhbGciOiJSUzI1NiJ9.e30", "eyJhbGciOiJSUzI1NiJ9.e30.x.y.z", "nobody_" + "x" * 40):
                await refusal(tokens, mangled)
            assert second.tokens == []
            await refusal(tokens, "second_x")
            assert second.tokens == ["second_x"]
            issuer = tokens.issuers[provider.url]
            assert "not a signed JWT" in (await _refused_by(tokens, "second_y", issuer))
            assert second.tokens == ["second_x"]


async def _refused_by(tokens: Any, token: str, issuer: Any) -> str:
    """Return why another issuer's token is refused."""
    from uws_service.domain.errors import AuthenticationRequired

    with pytest.raises(AuthenticationRequired) as error:
        await tokens.verify(token, issuer=issuer)
    return error.value.message


@pytest.mark.anyio
async def test_a_slow_issuer_delays_its_own_tokens_only(provider: OidcProvider) -> None:
    """Many that wait for it end in time with 503."""
    token = provider.token("robot", opaque=True)
    with introspector() as slow:
        settings = slow.settings(token_prefix="slow_"), introspected(provider, token_prefix=token[:3])
        async with verifier(*settings, cache=0, timeout=8) as tokens:
            waiting = [asyncio.create_task(tokens.verify(f"slow_{number}")) for number in range(150)]
            while len(slow.tokens) < 20:  # noqa: ASYNC110 -- another thread fills it
                await asyncio.sleep(0.01)
            await tokens.verify(token)
            assert len(slow.tokens) == 20 and not any(task.done() for task in waiting)
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(result, ServiceUnavailable) for result in results)


@pytest.mark.parametrize("prefixes", [(None, None), ("a", None), ("a", "ab"), ("same", "same")])
def test_settings_that_send_a_token_to_several_issuers(prefixes: tuple[str | None, ...]) -> None:
    issuers = [
        {
            "url": f"https://{number}.example.org",
            "audience": "a",
            "introspection": True,
            "client_id": "c",
            "client_secret": "s",
            "token_prefix": prefix,
        }
        for number, prefix in enumerate(prefixes)
    ]
    with pytest.raises(ValueError, match="token_prefix"):
        Auth.model_validate({"issuers": issuers})


# --- bad tokens ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_bad_tokens_are_counted_before_they_are_looked_at() -> None:
    """A flood does not reach the issuer; other addresses go on."""
    with introspector() as issuer:
        issuer.answers.set()
        async with verifier(issuer.settings(), bad_tokens=0.1) as tokens:
            flood = [tokens.verify(f"x{number}", address="2001:db8::1") for number in range(50)]
            results = await asyncio.gather(*flood, return_exceptions=True)
            limited = [result for result in results if isinstance(result, TooManyRequests)]
            assert len(issuer.tokens) == 6 and len(limited) == 44 and limited[0].retry_after
            with pytest.raises(TooManyRequests):
                await tokens.verify("y", address="2001:db8::2")  # the same network of 64 bits
            await refusal(tokens, "z")
            for address in ("2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2"):
                with pytest.raises(Exception, match="not known to its issuer"):
                    await tokens.verify("z", address=address)


@pytest.mark.anyio
async def test_good_tokens_and_silent_issuers_are_no_bad_tokens(nano: NanoIdp) -> None:
    async with verifier(nano.settings(), bad_tokens=0.1) as tokens:
        for number in range(20):
            await tokens.verify(nano.signed(jti=str(number)), address="192.0.2.1")
    with introspector() as silent:
        async with verifier(silent.settings(), bad_tokens=0.1, timeout=0.2) as tokens:
            for number in range(8):
                with pytest.raises(ServiceUnavailable):
                    await tokens.verify(f"x{number}", address="192.0.2.1")


def test_a_flood_of_bad_tokens(tmp_path: Path, nano: NanoIdp) -> None:
    """429 for its address; cached tokens and other addresses go on."""
    auth = {"issuers": [nano.settings()], "bad_tokens": 0.05}
    server = Server(tmp_path, {"UWS_APPLICATIONS": f'["{PROBE}"]', "UWS_AUTH": json.dumps(auth)})
    server.start()
    try:
        url = f"{server.url}/probe/async"
        good = {"Authorization": f"Bearer {nano.token('alice')}"}
        assert httpx2.get(url, headers=good).status_code == 200
        bad = [nano.signed(aud="other", jti=str(number)) for number in range(4)]
        answers = [httpx2.get(url, headers={"Authorization": f"Bearer {token}"}) for token in bad]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1 and "Too many bad tokens" in answers[-1].text
        assert httpx2.post(f"{server.url}/login", data={"password": bad[0]}).status_code == 429
        assert httpx2.get(url, headers=good).status_code == 200
        elsewhere_headers = {"Authorization": f"Bearer {nano.token('bob')}", "X-Forwarded-For": "192.0.2.7"}
        assert httpx2.get(url, headers=elsewhere_headers).status_code == 200
    finally:
        server.stop()


def test_a_flood_of_bad_logins(tmp_path: Path, nano: NanoIdp) -> None:
    """An answer to a login that was begun once makes the service ask the issuer a few times only."""
    auth = {"issuers": [nano.settings(client_id=CLIENT, client_secret=SECRET)], "bad_tokens": 0.05}
    server = Server(tmp_path, {"UWS_AUTH": json.dumps(auth)})
    server.start()
    log = nano.folder / "nanoidp.log"
    try:
        with httpx2.Client(base_url=server.url, timeout=60) as http:
            start = http.get("/login/start/0")
            state = parse_qs(urlsplit(start.headers["location"]).query)["state"][0]
            before = log.read_text().count("Authorization code not found")
            answers = [
                http.get("/login/callback", params={"state": state, "code": f"c{number}", "iss": nano.url})
                for number in range(6)
            ]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429, 429]
        assert "Log in again" in answers[0].text and int(answers[-1].headers["retry-after"]) >= 1
        assert log.read_text().count("Authorization code not found") - before == 3
    finally:
        server.stop()


# --- logins -------------------------------------------------------------------------------------------------------


def test_each_issuer_has_a_callback_of_its_own(secured: Server, nano: NanoIdp, provider: OidcProvider) -> None:
    """RFC 9700 §4.4.2, RFC 9207 §2.4: another issuer's answer is refused."""
    starts = [httpx2.get(f"{secured.url}/login/start/{number}") for number in range(2)]
    queries = [httpx2.URL(start.headers["location"]).params for start in starts]
    paths = ["/login/callback", f"/login/callback/127.0.0.1-{provider.port}"]
    assert [query["redirect_uri"] for query in queries] == [secured.url + path for path in paths]
    answer_query = {"state": queries[1]["state"], "code": "x", "iss": provider.url}
    cookies = dict(starts[1].cookies)
    for path, query, words in [
        (paths[0], answer_query, "address of another issuer"),
        ("/login/callback/none", answer_query, "address of another issuer"),
        (paths[1], {**answer_query, "iss": ""}, "came from another issuer"),
        (paths[1], {**answer_query, "iss": nano.url}, "came from another issuer"),
        (paths[1], {**answer_query, "iss": provider.url + "/"}, "came from another issuer"),
        (paths[1], {name: value for name, value in answer_query.items() if name != "iss"}, "which issuer it came from"),
        (paths[1], {**answer_query, "state": queries[0]["state"]}, "not begun by this browser"),
    ]:
        answer = httpx2.get(secured.url + path, params=query, cookies=cookies)
        assert answer.status_code == 401 and words in answer.text, (path, query, answer.text)
    answer = httpx2.get(secured.url + paths[1], params=answer_query, cookies=cookies)
    assert answer.status_code == 401 and "issuer does not know this login" in answer.text  # it was asked


def test_cookies_that_no_other_host_can_set(secured: Server, nano: NanoIdp) -> None:
    """Over https only cookies with the prefix __Host- count."""
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "jobs.example.org"}
    entered = httpx2.post(f"{secured.url}/login", data={"password": nano.token("alice")}, headers=https)
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("__Host-uws_session=")
    assert "Secure" in cookie and "Path=/;" in cookie + ";" and "domain" not in cookie.lower()
    value = cookie.partition("=")[2].partition(";")[0]
    url = f"{secured.url}/probe/async"
    for name, status in (("__Host-uws_session", 200), ("uws_session", 401), ("__Secure-uws_session", 401)):
        assert httpx2.get(url, headers={**https, "Cookie": f"{name}={value}"}).status_code == status, name
    started = httpx2.get(f"{secured.url}/login/start/0", headers=https)
    assert started.headers["set-cookie"].startswith("__Host-uws_login=")
