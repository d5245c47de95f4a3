"""The guarded fetch against real servers.

What it brings, and what it must never reach.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.server import free_port
from tests.tiers import require
from uws_service.agent.fetch import FetchError, Policy, authority, fetch, is_public

OPEN = Policy(allow_private=True, timeout=20)
"""The servers of these tests have inner addresses, so what is no test of the guard allows them."""
DATA = bytes(range(256)) * 1000
CODED = {
    "gzip": (gzip.compress(DATA), "gzip"),
    "x-gzip": (gzip.compress(DATA), "X-GZip"),
    "members": (gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]), "gzip"),
    "deflate": (zlib.compress(DATA), "deflate"),
    "identity": (DATA, "identity"),
    "cut": (gzip.compress(DATA)[:-20], "gzip"),
    "not-gzip": (DATA, "gzip"),
    "unknown": (DATA, "br"),
    "twice": (gzip.compress(gzip.compress(DATA)), "gzip, gzip"),
    "bomb": (gzip.compress(bytes(50_000_000)), "gzip"),
}
"""Bodies in content codings (RFC 9110 §8.4), some of them not what they declare."""


class Handler(BaseHTTPRequestHandler):
    """Answers by path; remembers what it was asked."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        self.close_connection = True
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self._head(302, {"Location": self.server.targets[path]})
        elif path == "/loop":
            self._head(301, {"Location": "/loop"})
        elif path == "/hops/0":
            self._body()
        elif path.startswith("/hops/"):
            self._head(307, {"Location": f"../hops/{int(path[6:]) - 1}"})
        elif path == "/nowhere":
            self._head(302, {})
        elif path == "/status":
            self._head(404, {"Content-Length": "0"})
        elif path == "/partial":
            self._head(206, {"Content-Length": "0"})
        elif path == "/chunked":
            self._head(200, {"Transfer-Encoding": "chunked"})
            for start in range(0, len(DATA), 50_000):
                piece = DATA[start : start + 50_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif path.startswith("/coded/"):
            body, coding = CODED[path.rpartition("/")[2]]
            self._head(200, {"Content-Length": str(len(body)), "Content-Encoding": coding})
            self.wfile.write(body)
        elif path == "/endless":
            self._head(200, {})
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(DATA)
        elif path == "/untold":
            self._head(200, {})
            self.wfile.write(DATA)
        elif path == "/short":
            self._head(200, {"Content-Length": str(len(DATA) + 1)})
            self.wfile.write(DATA)
        elif path == "/short-chunk":
            self._head(200, {"Transfer-Encoding": "chunked"})
            self.wfile.write(b"ffff\r\nonly this")
        elif path == "/odd-length":
            self._head(200, {"Content-Length": "²"})
            self.wfile.write(DATA)
        elif path == "/nonsense":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
        elif path == "/silent":
            self.server.ended.wait(60)
        elif path == "/stalls":
            self._head(200, {"Content-Length": str(len(DATA))})
            self.wfile.write(DATA[:1000])
            self.server.ended.wait(60)
        else:
            self._body()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self) -> None:
        self._head(200, {"Content-Length": str(len(DATA))})
        self.wfile.write(DATA)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """One server on the loopback address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.targets: dict[str, str] = {}
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that go away are what is tested

    def leading_to(self, location: str) -> str:
        """Return a URL that redirects."""
        path = f"/to/{len(self.targets)}"
        self.targets[path] = location
        return self.url + path


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.ended.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., bytes]:
    """Fetch a URL and return the bytes."""

    def get(url: str, policy: Policy = OPEN, max_size: int = 10**6) -> bytes:
        size = fetch(url, tmp_path / "file", max_size=max_size, policy=policy)
        content = (tmp_path / "file").read_bytes()
        assert len(content) == size
        return content

    return get


def test_a_token_goes_to_its_host_only(server: Server, tmp_path: Path) -> None:
    """It goes to no other port, nor back again.

    Only as long as the host stays the same.
    """
    second = Server()
    thread = threading.Thread(target=second.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    tokens = {f"127.0.0.1:{server.server_port}": "secret"}
    try:
        for url in (server.url + "/hops/1", server.leading_to(second.url + "/"), second.leading_to(server.url + "/")):
            fetch(url, tmp_path / "file", max_size=10**6, policy=OPEN, tokens=tokens)
    finally:
        second.shutdown()
        thread.join()
        second.server_close()
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer secret"] * 3 + [None]
    assert [headers.get("Authorization") for _, headers in second.requests] == [None, None]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Data.example.org/a", "data.example.org"),
        ("https://data.example.org:443", "data.example.org"),
        ("https://data.example.org:8443/a", "data.example.org:8443"),
        ("https://data.example.org@evil.example.org/", "evil.example.org"),
        ("http://data.example.org/", None),
        ("http://data.example.org:443/", None),
        ("http://127.0.0.1/", "127.0.0.1:80"),
        ("ftp://127.0.0.1/", None),
        ("https://[broken", None),
        ("https://data.example.org:x/", None),
        ("data.example.org", None),
    ],
)
def test_what_a_token_is_meant_for(url: str, expected: str | None) -> None:
    """Only https, or this very machine."""
    assert authority(url) == expected


@pytest.mark.parametrize("path", ["/", "/chunked", "/untold", "/hops/5", "", "/a%20b?x=1&y=%2F#part"])
def test_what_can_be_fetched(server: Server, get: Callable[..., bytes], path: str) -> None:
    """Bodies of all forms, behind five redirects."""
    assert get(server.url + path) == DATA


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "members", "deflate", "identity"])
def test_content_codings_are_undone(server: Server, get: Callable[..., bytes], name: str) -> None:
    """What an object store sends compressed, unasked, arrives as it was before (RFC 9110 §8.4)."""
    assert get(f"{server.url}/coded/{name}") == DATA


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut", "cut short"),
        ("not-gzip", "not in the content coding"),
        ("unknown", "'br'; gzip and deflate"),
        ("twice", "'gzip, gzip'; gzip and deflate"),
        ("bomb", "larger than the"),
    ],
)
def test_content_codings_that_are_refused(server: Server, get: Callable[..., bytes], name: str, reason: str) -> None:
    """Each with its reason.

    The bound of size is on what comes out.
    """
    with pytest.raises(FetchError, match=reason):
        get(f"{server.url}/coded/{name}")


def test_the_request(server: Server, get: Callable[..., bytes]) -> None:
    """Path and query as they were given, escaped where they must be; no secrets, no cookies, nothing encoded."""
    host = f"127.0.0.1:{server.server_port}"
    get(f"http://user:secret@{host}/é/%C3%A9?q=ü+%20&b#fragment")
    (path, headers), *further = server.requests
    assert path == "/%C3%A9/%C3%A9?q=%C3%BC+%20&b" and not further
    assert headers["Host"] == host and headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers and "Cookie" not in headers


def test_a_name_with_several_addresses(server: Server, get: Callable[..., bytes]) -> None:
    """`localhost` may be ::1 first, where nobody listens.

    The next address is tried.
    """
    assert get(f"http://localhost:{server.server_port}/") == DATA


INNER = [
    "127.0.0.1", "127.1", "127.0.0.2", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0",
    "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2001:db8::1]", "[fd00::1]",
    "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[ff02::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "192.0.2.1",
    "169.254.169.254", "224.0.0.1", "255.255.255.255", "100.64.0.1", "198.18.0.1", "user@127.0.0.1",
    "8.8.8.8@127.0.0.1", "①②⑦.⓪.⓪.①", "\uff11\uff12\uff17.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", INNER)
def test_inner_addresses(server: Server, get: Callable[..., bytes], host: str) -> None:
    """In every spelling, asked for directly and behind a redirect: refused before a byte is sent."""
    guarded = Policy(timeout=5)
    target = f"http://{host}:{server.server_port}/secret"
    with pytest.raises(FetchError, match=r"not allowed: it has an address of an inner network|is not known"):
        get(target, guarded)
    assert server.requests == []
    netloc = f"localhost:{server.server_port}"
    behind = server.leading_to(target).replace(f"127.0.0.1:{server.server_port}", netloc)
    if not host.isascii() or host.casefold() == "localhost":
        return  # no header; the very host that is allowed next
    with pytest.raises(FetchError, match=r"not allowed: it has an address of an inner network|is not known"):
        get(behind, Policy(timeout=5, allow_hosts=("LocalHost",)))
    assert [path for path, _ in server.requests] == ["/to/0"]


def test_a_name_of_an_inner_address(server: Server, get: Callable[..., bytes]) -> None:
    """What counts is what a name resolves to.

    This machine's own name, for one.
    """
    with pytest.raises(FetchError, match="inner network"):
        get(f"http://{socket.gethostname()}:{server.server_port}/", Policy(timeout=5))
    assert server.requests == []


def test_hosts_that_the_operator_allows(server: Server, get: Callable[..., bytes]) -> None:
    """Only they, whatever their case.

    A redirect from one to another host is judged anew.
    """
    policy = Policy(timeout=5, allow_hosts=("LocalHost",))
    assert get(f"http://localhost:{server.server_port}/", policy) == DATA
    assert get(f"http://localhost:{server.server_port}/hops/2", policy) == DATA
    with pytest.raises(FetchError, match="inner network"):
        get(f"{server.url}/", policy)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True), ("2002:808:808::1", True),
        ("::ffff:8.8.8.8", True), ("2002:a00:1::1", False), ("64:ff9b::a00:1", False), ("::ffff:10.0.0.1", False),
        ("169.254.169.254", False), ("100.100.100.200", False), ("192.0.0.192", False), ("fd00:ec2::254", False),
        ("168.63.129.16", False), ("::ffff:168.63.129.16", False), ("64:ff9b::a83f:8110", False), ("0.0.0.0", False),
        ("64:ff9b:1::808:808", False), ("::808:808", False), ("fe80::1%eth0", False), ("not an address", False),
    ],
)  # fmt: skip
def test_is_public(address: str, public: bool) -> None:
    """Wrapped addresses are judged by what they wrap.

    What clouds tell their machines is not public.
    """
    assert is_public(address) is public


@pytest.mark.parametrize("answers", [[["2001:4860:ffff::1"], ["127.0.0.1"]], [["2001:4860:ffff::1", "127.0.0.1"]]])
def test_a_name_that_changes(
    server: Server, get: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]
) -> None:
    """DNS rebinding.

    A name is looked up once, each of its addresses is judged, and one of those is dialled.
    """
    real, remaining = socket.getaddrinfo, iter(answers)

    def resolve(host: str, *arguments: object, **words: object) -> object:
        if host != "changing.example":
            return real(host, *arguments, **words)  # type: ignore[arg-type]
        return [record for answer in next(remaining) for record in real(answer, *arguments, **words)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(FetchError, match=r"could not be reached|inner network"):
        get(f"http://changing.example:{server.server_port}/", Policy(timeout=2))
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.org/x", "only http and https"),
        ("gopher://example.org/x", "only http and https"),
        ("example.org/x", "only http and https"),
        ("http:///x", "only http and https"),
        ("", "only http and https"),
        ("http://user:hush@h:99999/", "can't be read"),
        ("http://user:hush@[::1/", "can't be read"),
        ("http://user:hush@h:port/", "can't be read"),
        ("http://h/a b", "spaces or control"),
        ("http://h/a\r\nX-Evil: 1", "spaces or control"),
        ("http://h\x7f/", "spaces or control"),
        (f"http://{'a' * 300}/", "is not known"),
        ("http://user:hush@no-such-host.invalid/", "is not known"),
    ],
)
def test_what_is_no_url(get: Callable[..., bytes], url: str, reason: str) -> None:
    """Told in words, without user and password."""
    with pytest.raises(FetchError, match=reason) as raised:
        get(url)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[::1", "http://h:99999/", "gopher://x", "a b"])
def test_redirects_to_what_is_no_url(server: Server, get: Callable[..., bytes], location: str) -> None:
    """A server leads to nothing that is forbidden."""
    with pytest.raises(FetchError, match=r"only http and https|can't be read|not a URL|spaces"):
        get(server.leading_to(location))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/loop", "more than 5 redirects"),
        ("/hops/6", "more than 5 redirects"),
        ("/nowhere", "answered 302"),
        ("/status", "answered 404"),
        ("/partial", "answered 206"),
        ("/short", "cut short: 256000 of 256001 bytes"),
        ("/short-chunk", "could not be fetched"),
        ("/nonsense", "could not be fetched"),
    ],
)
def test_bad_answers(server: Server, get: Callable[..., bytes], path: str, reason: str) -> None:
    """Each error is named, without password and query."""
    url = server.url.replace("//", "//user:hush@") + path + "?token=hush"
    with pytest.raises(FetchError, match=reason) as raised:
        get(url)
    assert "hush" not in str(raised.value) and "user" not in str(raised.value)


def test_a_length_that_is_no_number(server: Server, get: Callable[..., bytes]) -> None:
    """Is no length.

    The body ends with the connection.
    """
    assert get(f"{server.url}/odd-length") == DATA


@pytest.mark.parametrize("path", ["/", "/chunked", "/untold", "/endless"])
def test_size_limit(server: Server, get: Callable[..., bytes], tmp_path: Path, path: str) -> None:
    """With and without Content-Length.

    Not a chunk more than allowed is written.
    """
    if path != "/endless":
        assert get(server.url + path, max_size=len(DATA)) == DATA
    (tmp_path / "file").unlink(missing_ok=True)
    with pytest.raises(FetchError, match=rf"{len(DATA) - 1} (bytes that )?are allowed"):
        get(server.url + path, max_size=len(DATA) - 1)
    written = (tmp_path / "file").stat().st_size if (tmp_path / "file").exists() else 0
    assert written < len(DATA)
    assert written == 0 or path != "/"


@pytest.mark.parametrize("path", ["/silent", "/stalls"])
def test_slow_servers(server: Server, get: Callable[..., bytes], path: str) -> None:
    """Who sends nothing for so long is left."""
    began = time.monotonic()
    with pytest.raises(FetchError, match="timed out"):
        get(server.url + path, Policy(allow_private=True, timeout=0.3))
    assert time.monotonic() - began < 30


def test_nobody_listens(get: Callable[..., bytes]) -> None:
    """A refused connection is told."""
    with pytest.raises(FetchError, match="could not be reached"):
        get(f"http://127.0.0.1:{free_port()}/")


def test_self_signed_certificate(server: Server, get: Callable[..., bytes], tmp_path: Path) -> None:
    """https to an unknown server is refused."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [require("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with pytest.raises(FetchError, match=r"(?i)certificate"):
        get(server.url.replace("http:", "https:") + "/")
    assert server.requests == []


def test_proxies_are_not_used(server: Server, get: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would undo the policy.

    It would reach what this machine may not, and resolve names anew.
    """
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, server.url)
    with pytest.raises(FetchError, match="is not known"):
        get("http://no-such-host.invalid/")
    assert server.requests == []
