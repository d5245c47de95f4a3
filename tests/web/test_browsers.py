"""Pages of other sites can make a browser do nothing here."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.server import Server

HEADER = "X-Auth-Request-User"
JOBS, SYNC = "/sleep/async", "/sleep/sync?SECONDS=0"
FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.org"},
    {"Origin": "https://evil.example.org"},
    {"Origin": "null"},
)
OWN_PAGES: tuple[dict[str, str], ...] = ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"})
SETTINGS = {
    "closed": {"UWS_IDENTITY_HEADER": HEADER},
    "any": {"UWS_IDENTITY_HEADER": HEADER, "UWS_CORS_ORIGINS": '["*"]'},
    "named": {
        "UWS_IDENTITY_HEADER": HEADER,
        "UWS_CORS_ORIGINS": '["https://friend.example.org"]',
        "UWS_BASE_URL": "https://jobs.example.org/uws",
        "UWS_BUILTIN_APPLICATIONS": '["crossmatch", "sleep"]',
        "UWS_HOSTS": '["jobs-behind-a-proxy.example.org"]',
    },
}


@pytest.fixture(scope="module", params=SETTINGS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a service that admits whoever reaches it.

    A proxy may name the user.
    """
    running = Server(tmp_path_factory.mktemp(request.param), SETTINGS[request.param])
    running.start()
    yield running
    running.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    """Yield a client of the service."""
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def cors(server: Server) -> str:
    """Return which other sites may use the service."""
    return server.settings.get("UWS_CORS_ORIGINS", "")


@pytest.mark.parametrize("caller", [{}, {HEADER: "alice"}], ids=["by address", "by a proxy"])
def test_pages_of_other_sites(http: httpx2.Client, caller: dict[str, str]) -> None:
    """No job is made or changed for them.

    A GET makes none either; the service's own pages and programs are admitted.
    """
    job = http.post(JOBS, headers=caller).headers["location"].rpartition("/")[2]
    for headers in FOREIGN:
        for method, path in (
            ("POST", JOBS),
            ("POST", SYNC),
            ("GET", SYNC),
            ("POST", "/tap/sync"),
            ("GET", "/tap/sync?QUERY=SELECT+1&LANG=ADQL"),
            ("POST", f"{JOBS}/{job}/phase"),
            ("DELETE", f"{JOBS}/{job}"),
        ):
            refused = http.request(method, path, headers={**caller, **headers})
            assert refused.status_code == 403 and "page of another site" in refused.text, (method, path, headers)
    for headers in OWN_PAGES:
        assert http.post(JOBS, headers={**caller, **headers}).status_code == 303
        assert http.get(SYNC, headers={**caller, **headers}).status_code == 200
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
    assert http.get(SYNC, headers={**caller, **followed}).status_code == 200
    assert http.get("/sleep/capabilities", headers={**caller, **FOREIGN[0]}).status_code == 200


def test_sites_that_are_named(server: Server, http: httpx2.Client) -> None:
    """`cors_origins`: a named site may make jobs.

    ``*`` lets any do so for callers of the Internet; neither does for a known user.
    """
    friend = {"Origin": "https://friend.example.org", "Sec-Fetch-Site": "cross-site"}
    far = {**friend, "X-Forwarded-For": "8.8.8.8"}
    assert http.post(JOBS, headers=friend).status_code == (303 if "friend" in cors(server) else 403)
    assert http.post(JOBS, headers=far).status_code == (303 if cors(server) else 403)
    assert http.post(JOBS, headers={**far, HEADER: "alice"}).status_code == 403
    assert http.get(SYNC, headers={**far, HEADER: "alice"}).status_code == 403


def test_names_of_others_at_a_loopback_address(server: Server, http: httpx2.Client) -> None:
    """DNS rebinding: a foreign name that leads here is refused.

    For reading too, with whatever headers the page adds.
    """
    port = server.port
    for host in ("evil.example.org", f"evil.example.org:{port}", "127.0.0.1.evil.example.org", "localhost.evil.org"):
        for headers in (
            {},
            {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"},
            {HEADER: "alice"},
            {"Authorization": "Bearer of.no.use"},
            {"Authorization": "Basic YTpi", "Cookie": "a=b"},
        ):
            for path in (JOBS, "/metrics", "/", f"{JOBS}/1/logs/stdout"):
                refused = http.get(path, headers={"Host": host, **headers})
                assert refused.status_code == 421 and "is not called" in refused.text, (host, headers, path)
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]", "LOCALHOST.", "uws.localhost"):
        assert http.get(JOBS, headers={"Host": host}).status_code == 200, host
    for host in ("jobs.example.org", "jobs-behind-a-proxy.example.org"):
        assert http.get(JOBS, headers={"Host": host}).status_code == (200 if "friend" in cors(server) else 421), host


def test_no_type_is_guessed(http: httpx2.Client) -> None:
    """`nosniff` is once in every answer.

    Documents, pages, files, texts, errors, redirects, and what has no body.
    """
    job = http.post(JOBS, data={"SECONDS": "0"}).headers["location"].rpartition("/")[2]
    job = f"{JOBS}/{job}"
    paths = (
        "/ /sleep /sleep/async /livez /readyz /metrics /static/style.css /sleep/capabilities /sleep/examples /nothing"
    )
    answers = [
        http.get(path) for path in (*paths.split(), job, f"{job}/phase", f"{job}/parameters/SECONDS", "/tap/tables")
    ]
    answers += [
        http.get(path, headers={"accept": "text/html,application/xhtml+xml"}) for path in ("/", job, "/nothing")
    ]
    answers += [http.get(SYNC), http.post(JOBS), http.post(f"{job}/phase"), http.put(JOBS), http.options(JOBS)]
    answers += [http.post("/tap/sync", data={"LANG": "ADQL", "QUERY": text}) for text in ("SELECT 1 AS a", "SELECT")]
    answers += [http.get(JOBS, headers={"x-a": "x" * 70_000}), http.get(JOBS, headers={"Host": "evil.example.org"})]
    preflight = {"Origin": "https://friend.example.org", "Access-Control-Request-Method": "POST"}
    answers.append(http.options(JOBS, headers=preflight))
    for answer in answers:
        assert answer.headers.get("x-content-type-options") == "nosniff", (answer.request.url, answer.headers)


def test_metrics_are_not_for_everyone(http: httpx2.Client) -> None:
    """This machine may read them, others by settings only."""
    assert http.get("/metrics").status_code == 200
    for headers in ({"X-Forwarded-For": "8.8.8.8"}, {HEADER: "alice", "X-Forwarded-For": "10.0.0.1"}):
        assert http.get("/metrics", headers=headers).status_code == 403
