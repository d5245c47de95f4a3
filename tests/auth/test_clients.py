"""Real clients with real tokens: pyvo, curl, STILTS, a browser and our own command line each make, follow and fetch a
private job."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import requests
from playwright.sync_api import Page
from pyvo.auth import AuthSession
from pyvo.dal import AsyncTAPJob, DALServiceError, TAPService

from tests.chromium import chromium
from tests.clients.test_tools import run
from tests.issuers import NanoIdp, OidcProvider
from tests.server import ROOT, Server
from tests.tiers import require

# --- pyvo ---------------------------------------------------------------------------------------------------------


def follow(job: AsyncTAPJob, session: requests.Session) -> None:
    """Run, wait, fetch, delete, all by pyvo."""
    job.run()
    job.wait(timeout=240)
    assert job.phase == "COMPLETED"
    assert session.get(job.result_uri, timeout=180).status_code == 200
    assert requests.get(job.result_uri, timeout=180).status_code == 401
    job.delete()


def test_pyvo_with_a_header(secured: Server, nano: NanoIdp) -> None:
    """A-012, A-013: a redirect keeps the token."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {nano.token('alice')}"
    created = session.post(f"{secured.url}/probe/async", data={"OUTPUT": "16"}, timeout=180)
    assert created.status_code == 200 and len(created.history) == 1
    job = AsyncTAPJob(created.url, session=session)
    assert job.owner == f"alice@127.0.0.1:{nano.port}"
    follow(job, session)


@pytest.mark.filterwarnings("ignore::pyvo.utils.xml.exceptions.UnknownElementWarning")
def test_pyvo_auth_session(secured: Server, nano: NanoIdp) -> None:
    """A-012: AuthSession learns from ``use="base"`` where tokens go."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {nano.token('alice')}"
    auth = AuthSession()
    auth.credentials.set("ivo://ivoa.net/sso#OAuth", session)
    auth.update_from_capabilities(TAPService(f"{secured.url}/probe", session=session).capabilities)
    created = auth.post(f"{secured.url}/probe/async", data={"OUTPUT": "16"})
    assert created.status_code == 200, created.text
    job = AsyncTAPJob(created.url, session=auth)
    assert job.owner == f"alice@127.0.0.1:{nano.port}"
    follow(job, session)


Opened = Callable[[requests.Session], requests.Session]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Yield a list of sessions to close."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.mark.filterwarnings("ignore::pyvo.utils.xml.exceptions.UnknownElementWarning")
@pytest.mark.parametrize("method", ["header", "AuthSession"])
def test_pyvo_asks_tables(secured: Server, nano: NanoIdp, method: str, opened: Opened) -> None:
    """A-012: TAPService works with either kind of session."""
    plain = session = opened(requests.Session())
    plain.headers["Authorization"] = f"Bearer {nano.token('bob')}"
    if method == "AuthSession":
        session = AuthSession()
        opened(session.credentials.get("anonymous"))
        session.credentials.set("ivo://ivoa.net/sso#OAuth", plain)
        session.update_from_capabilities(TAPService(f"{secured.url}/tap", session=plain).capabilities)
    service = TAPService(f"{secured.url}/tap", session=session)
    query = "SELECT TOP 3 name FROM openngc.objects"
    tables = session.get(f"{secured.url}/tap/tables", timeout=180)  # as `service.tables` does, which leaves it open
    assert tables.status_code == 200 and "openngc.objects" in tables.text
    assert len(service.run_sync(query)) == 3
    job = service.submit_job(query)
    assert job.owner == f"bob@127.0.0.1:{nano.port}"
    job.run()
    job.wait(timeout=240)
    assert len(job.fetch_result()) == 3
    assert requests.get(job.result_uri, timeout=180).status_code == 401
    job.delete()
    with pytest.raises(DALServiceError, match=r"log in, or send a token|401"):
        TAPService(f"{secured.url}/tap", session=opened(requests.Session())).submit_job(query)


def test_pyvo_without_a_token(secured: Server, nano: NanoIdp) -> None:
    """The refusal's message reaches the user."""
    headers = {"Authorization": f"Bearer {nano.token('alice')}"}
    created = requests.post(f"{secured.url}/probe/async", headers=headers, timeout=180)
    with pytest.raises(DALServiceError, match="log in, or send a token"):
        _ = AsyncTAPJob(created.url).phase


# --- curl ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bearer", "basic", "opaque", "cookie"])
def test_curl(secured: Server, nano: NanoIdp, provider: OidcProvider, tmp_path: Path, method: str) -> None:
    """Each way of sending a token works."""
    require("curl")
    if method == "bearer":
        words = ["-H", f"Authorization: Bearer {nano.token('alice')}"]
    elif method == "basic":
        words = ["-u", f"x-oauth-basic:{nano.token('alice')}"]
    elif method == "opaque":
        words = ["-H", f"Authorization: Bearer {provider.token('robot', opaque=True)}"]
    else:
        jar = str(tmp_path / "cookies")
        run("curl", "-s", "-f", "-c", jar, "-d", f"username=a&password={nano.token('alice')}", f"{secured.url}/login")
        words = ["-b", jar]
    jobs = f"{secured.url}/probe/async"
    data = ["-d", "OUTPUT=8", "-d", "PHASE=RUN"]
    location = run("curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", *words, *data, jobs)
    assert location.startswith(f"{jobs}/")
    while run("curl", "-s", *words, f"{location}/phase") not in ("COMPLETED", "ERROR"):
        run("curl", "-s", *words, f"{location}?WAIT=5")
    assert run("curl", "-s", *words, "-w", "%{http_code}", "-o", "/dev/null", f"{location}/results/result") == "200"
    assert run("curl", "-s", "-w", "%{http_code}", "-o", "/dev/null", f"{location}/results/result") == "401"


def test_a_token_that_ends_in_mid_polling(secured: Server, nano: NanoIdp) -> None:
    """A-015: 401 with challenges, never a redirect."""
    token = nano.signed(exp=int(time.time()) - 22)  # the leeway is 30 s
    headers = {"Authorization": f"Bearer {token}"}
    created = httpx2.post(f"{secured.url}/probe/async", headers=headers)
    job, status = created.headers["location"], 200
    deadline = time.monotonic() + 180
    while status == 200 and time.monotonic() < deadline:
        answer = httpx2.get(f"{job}?WAIT=1&PHASE=PENDING", headers=headers, timeout=180)
        status = answer.status_code
    assert status == 401 and "has expired" in answer.text
    assert "invalid_token" in answer.headers["www-authenticate"]


# --- STILTS -------------------------------------------------------------------------------------------------------


def test_stilts(secured: Server, nano: NanoIdp, tmp_path: Path) -> None:
    """A-010, C-36: Basic with the token as password, for an application that a group may use.

    STILTS sends an upload in a stream, which Java can't send again after a 401; so there is none here.
    """
    require("stilts")
    out = tmp_path / "out.csv"

    def query(*options: str) -> subprocess.CompletedProcess[str]:
        words = [f"tapurl={secured.url}/rows", "sync=false", "adql=SELECT 1", "ofmt=csv", f"out={out}"]
        return subprocess.run(["stilts", *options, "tapquery", *words], capture_output=True, text=True, timeout=600)

    refused = query()
    assert refused.returncode != 0 and "401" in refused.stdout + refused.stderr
    stranger = query("-Dstar.basicauth.user=x", f"-Dstar.basicauth.password={nano.token('bob')}")
    assert stranger.returncode != 0 and "403" in stranger.stdout + stranger.stderr
    completed = query("-Dstar.basicauth.user=x", f"-Dstar.basicauth.password={nano.token('alice')}")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert out.read_text().split() == ["n", "42"]


@pytest.mark.parametrize("sync", ["true", "false"])
def test_stilts_asks_tables(secured: Server, nano: NanoIdp, tmp_path: Path, sync: str) -> None:
    """A-010: ``tapquery`` with the token as password."""
    require("stilts")
    out = tmp_path / "out.csv"
    user = ["-Dstar.basicauth.user=x", f"-Dstar.basicauth.password={nano.token('bob')}"]
    words = [f"tapurl={secured.url}/tap", f"sync={sync}", "ofmt=csv", f"out={out}"]
    query = "adql=SELECT TOP 2 name FROM openngc.objects ORDER BY name"
    command = ["stilts", *user, "tapquery", *words, query]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert out.read_text().split() == ["name", "B033", "C009"]


def test_cookie_by_challenge(secured: Server, nano: NanoIdp) -> None:
    """A-002, A-004: `ivoa_cookie` as TOPCAT uses it."""
    with httpx2.Client(timeout=180) as http:
        refused = http.head(f"{secured.url}/tap/tables")
        assert refused.status_code == 401
        (challenge,) = [
            value for value in refused.headers.get_list("www-authenticate") if value.startswith("ivoa_cookie ")
        ]
        details = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        assert details["standard_id"] == "ivo://ivoa.net/sso#tls-with-password"
        assert http.post(details["access_url"], data={"username": "bob", "password": "wrong"}).status_code == 401
        entered = http.post(details["access_url"], data={"username": "bob", "password": nano.token("bob")})
        assert entered.status_code == 200 and "set-cookie" in entered.headers
        query = {
            "REQUEST": "doQuery",
            "LANG": "ADQL",
            "FORMAT": "application/x-votable+xml;serialization=binary2",
            "QUERY": "SELECT TOP 2 name FROM openngc.objects",
        }
        created = http.post(f"{secured.url}/tap/async", data=query)
        assert created.status_code == 303
        job = created.headers["location"]
        assert http.post(f"{job}/phase", data={"PHASE": "RUN"}).status_code == 303
        while (phase := http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING"):
            http.get(f"{job}?WAIT=8&PHASE={phase}")
        result = http.get(f"{job}/results/result")
        assert phase == "COMPLETED" and b"<BINARY2>" in result.content
        assert httpx2.get(f"{job}/results/result").status_code == 401
        assert http.delete(job).status_code == 303


# --- a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[Page]:
    """Yield a page of a fresh browser."""
    with chromium() as browser:
        opened = browser.new_page()
        opened.set_default_timeout(180_000)
        yield opened


@pytest.mark.parametrize("issuer", ["Nano", "Provider"])
def test_browser(secured: Server, nano: NanoIdp, provider: OidcProvider, page: Page, issuer: str) -> None:
    """A login at the issuer (code flow, PKCE) leads to a private job."""
    page.goto(f"{secured.url}/probe/async")
    assert "for known users" in page.inner_text("main")
    page.get_by_role("main").get_by_role("link", name="Log in").click()
    page.get_by_role("link", name=f"Log in at {issuer}").click()
    if issuer == "Nano":
        page.wait_for_url(f"{nano.url}/**")
        page.locator("[name=username]").fill("alice")
        page.locator("[name=password]").fill("alice-password")
        page.locator("form [type=submit]").first.click()
    else:
        page.wait_for_url(f"{provider.url}/**")
        page.locator("[name=login]").fill("alice")
        page.locator("[name=password]").fill("anything")
        page.locator("[type=submit]").click()
        page.locator("[type=submit]").click()  # consent
    page.wait_for_url(f"{secured.url}/probe/async")
    port = nano.port if issuer == "Nano" else provider.port
    page.get_by_role("link", name="New job").click()
    page.locator("[name=OUTPUT]").fill("64")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url("**/probe/async/*")
    page.get_by_text("COMPLETED").first.wait_for(timeout=240_000)
    assert f"alice@127.0.0.1:{port}" in page.inner_text("body")
    job = page.url
    assert httpx2.get(job).status_code == 401
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["uws_session"]["httpOnly"] and cookies["uws_session"]["sameSite"] == "Lax"
    assert page.request.get(f"{job}/results/result").status == 200
    page.locator(".account a").click()
    assert "/ska/team" in page.inner_text("main")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{secured.url}/")
    assert page.goto(job).status == 401


def test_browser_with_a_token(secured: Server, nano: NanoIdp, page: Page) -> None:
    """The form on the login page."""
    page.goto(f"{secured.url}/login?next=/probe")
    page.get_by_label("Access token").fill(nano.token("bob"))
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{secured.url}/probe")
    assert "bob@" in page.inner_text("header")


def test_a_login_half_way_through_a_form(secured: Server, nano: NanoIdp, page: Page) -> None:
    """A session that has ended loses no entries: the login leads back to the form, which has them."""

    def log_in() -> None:
        page.get_by_label("Access token").fill(nano.token("bob"))
        page.get_by_role("button", name="Log in").click()

    page.goto(f"{secured.url}/login?next=/probe/new")
    log_in()
    page.get_by_label("Name of the job").fill("half-way")
    page.locator("[name=TAG]").first.fill("one & two")
    page.get_by_role("button", name="Add another").first.click()
    page.locator("[name=TAG]").nth(1).fill("three")
    page.locator("[name=OUTPUT]").fill("64")
    page.context.clear_cookies()
    page.get_by_role("button", name="Create and run").click()
    page.get_by_role("main").get_by_role("link", name="Log in").click()
    log_in()
    page.wait_for_url(f"{secured.url}/probe/new")
    entries = [page.locator("[name=TAG]").nth(place).input_value() for place in (0, 1)]
    assert entries == ["one & two", "three"] and page.locator("[name=OUTPUT]").input_value() == "64"
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url("**/probe/async/*")
    assert "half-way" in page.inner_text("h1")
    page.goto(f"{secured.url}/probe/new")
    assert page.locator("[name=OUTPUT]").input_value() != "64", "entries that were sent are not there for ever"


def test_a_form_of_another_site_in_a_browser(secured: Server, nano: NanoIdp, page: Page, tmp_path: Path) -> None:
    """CSRF: a foreign page's form does nothing in Chromium."""
    page.goto(f"{secured.url}/login")
    page.get_by_label("Access token").fill(nano.token("bob"))
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{secured.url}/")
    before = page.request.get(f"{secured.url}/sleep/async").text()
    trap = tmp_path / "trap.html"
    trap.write_text(
        f'<form method="post" action="{secured.url}/sleep/async"><input name="PHASE" value="RUN"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    page.goto(trap.as_uri())
    page.wait_for_url(f"{secured.url}/sleep/async")
    assert "page of another site" in page.inner_text("body")
    assert page.request.get(f"{secured.url}/sleep/async").text() == before


# --- our command line ---------------------------------------------------------------------------------------------


class Shell:
    """Somebody with a home folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        drop = ("UWS_", "BEARER_", "XDG_", "WLCG")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
        self.environment = {**clean, "HOME": str(home), "PYTHONPATH": str(ROOT)}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "uws_service", *words],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **environment: str) -> str:
        """Return what a command prints, on both outputs."""
        out, err = self.start(*words, **environment).communicate(timeout=120)
        assert "Traceback" not in err
        return out + err


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def logged_in(shell: Shell, server: Server, nano: NanoIdp, user: str, *options: str) -> None:
    """Run ``login`` and open the link that it prints."""
    process = shell.start("login", f"{server.url}/probe/async", "--issuer", nano.url, *options)
    assert process.stderr is not None
    line = process.stderr.readline()
    link = next(word for word in line.split() if word.startswith("http"))
    nano.approve(link, user)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def test_command_line(secured: Server, nano: NanoIdp, shell: Shell) -> None:
    """RFC 8628: device flow, a private job, refresh, logout."""
    jobs = f"{secured.url}/probe/async"
    assert "wants you to authenticate" in shell.run("list", jobs)
    logged_in(shell, secured, nano, "carol")
    file = shell.home / ".config" / "uws-service" / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    job = shell.run("submit", jobs, "OUTPUT=8", "--wait").split()[0]
    assert job.startswith(jobs)
    assert f"carol@127.0.0.1:{nano.port}" in shell.run("show", job)
    stored = json.loads(file.read_text())
    assert list(stored) == [secured.url]
    first = stored[secured.url]["access_token"]
    stored[secured.url]["expires"] = time.time() - 5
    file.write_text(json.dumps(stored))
    second = shell.run("token", jobs).strip()
    assert second and second != first
    assert httpx2.get(job, headers={"Authorization": f"Bearer {second}"}).status_code == 200
    stored = json.loads(file.read_text())
    assert stored[secured.url]["access_token"] == second
    stored[secured.url] |= {"expires": time.time() - 5, "refresh_token": "gone"}
    file.write_text(json.dumps(stored))
    assert "log in again" in shell.run("show", job)
    assert "Logged out" in shell.run("logout", jobs)
    assert "there is no login" in shell.run("logout", jobs)
    assert "wants you to authenticate" in shell.run("list", jobs)


def test_keyring(secured: Server, nano: NanoIdp, shell: Shell) -> None:
    """Tokens are in the keyring only."""
    pytest.importorskip("keyring")
    stored = shell.home / "keyring"
    shell.environment |= {
        "PYTHON_KEYRING_BACKEND": "tests.auth.keyring_file.FileKeyring",
        "KEYRING_FILE": str(stored),
    }
    jobs = f"{secured.url}/probe/async"
    logged_in(shell, secured, nano, "carol", "--keyring")
    file = shell.home / ".config" / "uws-service" / "tokens.json"
    assert json.loads(file.read_text()) == {secured.url: {"keyring": True}}
    first = shell.run("token", jobs).strip()
    assert first in stored.read_text() and first.count(".") == 2
    content = json.loads(stored.read_text())
    name = next(iter(content))
    content[name] = json.dumps({**json.loads(content[name]), "expires": 0})
    stored.write_text(json.dumps(content))
    second = shell.run("token", jobs).strip()
    assert second != first and second in stored.read_text()
    assert json.loads(file.read_text()) == {secured.url: {"keyring": True}}
    assert "Logged out" in shell.run("logout", jobs)
    assert json.loads(stored.read_text()) == {} and json.loads(file.read_text()) == {}


def test_where_tokens_are_found(secured: Server, nano: NanoIdp, shell: Shell, tmp_path: Path) -> None:
    """--token wins over the environment and WLCG's places."""
    url = f"{secured.url}/login"
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    tokens = {name: nano.signed(sub=name) for name in ("option", "client", "bearer", "file", "login", "xdg")}
    (tmp_path / "token").write_text(tokens["file"] + "\n")
    (runtime / f"bt_u{os.getuid()}").write_text(tokens["xdg"] + "\n")
    steps = {"XDG_RUNTIME_DIR": str(runtime)}

    def who() -> str:
        printed = shell.run("token", url, **steps).strip()
        return next((name for name, token in tokens.items() if token == printed), printed)

    assert who() == "xdg"
    logged_in(shell, secured, nano, "bob")
    assert who() not in tokens
    steps["BEARER_TOKEN_FILE"] = str(tmp_path / "token")
    assert who() == "file"
    steps["BEARER_TOKEN"] = tokens["bearer"]
    assert who() == "bearer"
    steps["UWS_CLIENT_TOKEN"] = tokens["client"]
    assert who() == "client"
    job = shell.run("submit", f"{secured.url}/probe/async", "--token", tokens["option"], **steps).strip()
    printed = shell.run("show", job, "--token", f"@{tmp_path / 'option'}", **steps)
    assert "No such file" in printed
    (tmp_path / "option").write_text(tokens["option"])
    assert "option@" in shell.run("show", job, "--token", f"@{tmp_path / 'option'}", **steps)
    assert "is not sent to http://192.0.2.1" in shell.run("list", "http://192.0.2.1/probe/async", **steps)


def test_a_token_file_that_others_can_read(secured: Server, nano: NanoIdp, shell: Shell) -> None:
    logged_in(shell, secured, nano, "bob")
    (shell.home / ".config" / "uws-service" / "tokens.json").chmod(0o644)
    assert "can be read by others" in shell.run("list", f"{secured.url}/probe/async")


def test_login_where_nobody_can(shell: Shell, secured: Server, nano: NanoIdp) -> None:
    """One line says what is wrong."""
    assert "several issuers" in shell.run("login", secured.url)
    assert "does not take tokens of https://x" in shell.run("login", secured.url, "--issuer", "https://x")
    assert "does not say how to log in" in shell.run("login", nano.url)
