"""What pages of other sites can make a browser do: nothing, whatever lets the browser's user in."""

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
OWN: tuple[dict[str, str], ...] = ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"})
SETTINGS = {
    "closed": {"UWS_IDENTITY_HEADER": HEADER},
    "any": {"UWS_IDENTITY_HEADER": HEADER, "UWS_CORS_ORIGINS": '["*"]'},
    "named": {
        "UWS_IDENTITY_HEADER": HEADER,
        "UWS_CORS_ORIGINS": '["https://friend.example.org"]',
        "UWS_BASE_URL": "https://jobs.example.org/uws",
        "UWS_HOSTS": '["jobs-behind-a-proxy.example.org"]',
    },
}


@pytest.fixture(scope="module", params=SETTINGS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that lets everybody in who reaches it, or whom a proxy names."""
    running = Server(tmp_path_factory.mktemp(request.param), SETTINGS[request.param])
    running.start()
    yield running
    running.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    """A client of it."""
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def cors(server: Server) -> str:
    """Which other sites may use the service."""
    return server.settings.get("UWS_CORS_ORIGINS", "")


@pytest.mark.parametrize("who", [{}, {HEADER: "alice"}], ids=["by address", "by a proxy"])
def test_pages_of_other_sites(http: httpx2.Client, who: dict[str, str]) -> None:
    """No job is made or changed for them, also by a GET; the service's own pages and programs are let in."""
    job = http.post(JOBS, headers=who).headers["location"].rpartition("/")[2]
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
            refused = http.request(method, path, headers={**who, **headers})
            assert refused.status_code == 403 and "page of another site" in refused.text, (method, path, headers)
    for headers in OWN:
        assert http.post(JOBS, headers={**who, **headers}).status_code == 303
        assert http.get(SYNC, headers={**who, **headers}).status_code == 200
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
    assert http.get(SYNC, headers={**who, **followed}).status_code == 200
    assert http.get("/sleep/capabilities", headers={**who, **FOREIGN[0]}).status_code == 200


def test_sites_that_are_named(server: Server, http: httpx2.Client) -> None:
    """`cors_origins`: a named one may make jobs, any one only for callers of the Internet; neither as a known user."""
    friend = {"Origin": "https://friend.example.org", "Sec-Fetch-Site": "cross-site"}
    far = {**friend, "X-Forwarded-For": "8.8.8.8"}
    assert http.post(JOBS, headers=friend).status_code == (303 if "friend" in cors(server) else 403)
    assert http.post(JOBS, headers=far).status_code == (303 if cors(server) else 403)
    assert http.post(JOBS, headers={**far, HEADER: "alice"}).status_code == 403
    assert http.get(SYNC, headers={**far, HEADER: "alice"}).status_code == 403


def test_names_of_others_at_a_loopback_address(server: Server, http: httpx2.Client) -> None:
    """DNS rebinding: a page's own name that leads here is refused for reading too, with whatever headers it adds."""
    port = server.port
    for host in ("evil.example.org", f"evil.example.org:{port}", "127.0.0.1.evil.example.org", "localhost.evil.org"):
        for more in ({}, {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"}, {HEADER: "alice"}):
            for path in (JOBS, "/metrics", "/", f"{JOBS}/1/logs/stdout"):
                refused = http.get(path, headers={"Host": host, **more})
                assert refused.status_code == 421 and "is not called" in refused.text, (host, more, path)
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]", "LOCALHOST.", "uws.localhost"):
        assert http.get(JOBS, headers={"Host": host}).status_code == 200, host
    for host in ("jobs.example.org", "jobs-behind-a-proxy.example.org"):
        assert http.get(JOBS, headers={"Host": host}).status_code == (200 if "friend" in cors(server) else 421), host


def test_no_type_is_guessed(http: httpx2.Client) -> None:
    """`nosniff` once with every answer: documents, pages, files, texts, errors, redirects, and what has no body."""
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
    """This machine may read them; others only if the settings say so."""
    assert http.get("/metrics").status_code == 200
    for headers in ({"X-Forwarded-For": "8.8.8.8"}, {HEADER: "alice", "X-Forwarded-For": "10.0.0.1"}):
        assert http.get("/metrics", headers=headers).status_code == 403
