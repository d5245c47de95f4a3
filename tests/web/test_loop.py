"""Expensive requests.

The event loop goes on for others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import httpx2
import pytest

from tests.server import Server
from tests.service.conftest import PROBE
from tests.watched import longest_pauses

MIB = 1 << 20
SITES = '[{"name": "local", "slots": 1}]'
MOST_CPU_SECONDS = 0.25
"""On a machine that does the work of `seconds_of_work` in `WORK_SECONDS`."""
MOST_CHANGE_SECONDS = 0.1
"""For a change of a large job: what is large of it is read and written beside the loop."""
WORK_SECONDS = 0.045
MOST_SECONDS = 3.0
"""The machine does other things too."""
JOBS = "/probe/async"
FORM = {"content-type": "application/x-www-form-urlencoded"}
ACCEPT = {"xml": "text/xml", "json": "application/json", "html": "text/html,application/xhtml+xml"}


def seconds_of_work() -> float:
    """Return the CPU seconds of a fixed piece of work now.

    A core that it shares with another hardware thread, or that is throttled, takes more of them for the same.
    """
    start = time.thread_time()
    for _ in range(3):
        escape("<&\r" * (MIB // 3))
        sum(number & 7 for number in range(200_000))
    return time.thread_time() - start


class Watched:
    """A service, a client, and the watch on its loop."""

    def __init__(self, folder: Path) -> None:
        self.watch = folder / "watch"
        settings = {
            "WATCH": str(self.watch),
            "UWS_APPLICATIONS": f'["{PROBE}"]',
            "UWS_LIMITS__BULK": "5000",
            "UWS_SITES": SITES,
        }
        self.server = Server(folder, settings, program=("-m", "tests.watched", "serve"))

    def require_swift(self, answer: httpx2.Response, *statuses: int, limit: float = MOST_CPU_SECONDS) -> None:
        """Check the status, and that the event loop went on."""
        httpx2.get(f"{self.server.url}/livez", timeout=60)  # by then the watch has written down the last pause
        cpu, wall = longest_pauses(self.watch)
        assert answer.status_code in statuses, answer.text[:300]
        if cpu >= limit:  # too long here, or a slow machine at this moment
            cpu *= WORK_SECONDS / max(WORK_SECONDS, seconds_of_work())
        assert cpu < limit and wall < MOST_SECONDS, (cpu, wall, answer.request.method, answer.request.url)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield one service for all tests."""
    service = Watched(tmp_path_factory.mktemp("watched"))
    service.server.start()
    yield service
    service.server.stop()


@pytest.fixture
def client(watched: Watched) -> Iterator[httpx2.Client]:
    """Return a client.

    What the service did before its first request does not count.
    """
    with httpx2.Client(base_url=watched.server.url, timeout=120) as client:
        client.get("/livez")
        longest_pauses(watched.watch)
        yield client


def multipart(*parts: tuple[str, str, bytes]) -> dict[str, object]:
    """Name, content type and value of each."""
    body = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: %s\r\n\r\n%s\r\n'
        % (name.encode(), kind.encode(), value)
        for name, kind, value in parts
    )
    return {"content": body + b"--XX--\r\n", "headers": {"content-type": "multipart/form-data; boundary=XX"}}


@pytest.mark.parametrize("charset", ["punycode", "utf-7", "idna", "unicode_escape", "utf-16", "cp932", "zlib", "x\0y"])
def test_charsets(watched: Watched, client: httpx2.Client, charset: str) -> None:
    """Slow codecs of Python are refused by name."""
    answer = client.post(JOBS, **multipart(("TAG", f"text/plain; charset={charset}", b"a" * 200_000)))  # type: ignore[arg-type]
    watched.require_swift(answer, 400)
    assert "utf-8, us-ascii, iso-8859-1, windows-1252" in answer.text


BODIES = {
    "separators": b"&" * (20 * MIB),
    "many chunks with a separator each": (b"a=" + b"x" * 50_000 + b"&") * 900,
    "escapes": b"&".join(b"P%d=" % number + b"%41" * (MIB - 10) for number in range(16)),
    "escapes with letters between": b"&".join(b"P%d=" % number + b"%41b" * (MIB // 2) for number in range(16)),
    "percent signs": b"P=" + b"%" * (40 * MIB),
    "a name": b"%41" * (5 * MIB) + b"=1",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_urlencoded_forms(watched: Watched, client: httpx2.Client, body: bytes) -> None:
    watched.require_swift(client.post(JOBS, content=body, headers=FORM), 303, 400, 413)


VALUES = {"markup": b"<&\r" * (MIB // 3), "boundaries": b"\r\n--X" * (MIB // 5)}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_documents_of_large_jobs(watched: Watched, client: httpx2.Client, value: bytes) -> None:
    """A job with the most bytes of values, in every form."""
    form = multipart(*((f"P{number}", "text/plain", value) for number in range(15)))
    answer = client.post(JOBS, **form)  # type: ignore[arg-type]
    watched.require_swift(answer, 303)
    job = answer.headers["location"]
    for path in ("", "/parameters", "/results"):
        for accept in ACCEPT.values():
            watched.require_swift(client.get(job + path, headers={"accept": accept}), 200)
    assert client.get(f"{job}/parameters/P3").content == value
    watched.require_swift(client.post(f"{job}/parameters", data={"P3": "1"}), 303, limit=MOST_CHANGE_SECONDS)
    watched.require_swift(client.post(f"{job}/phase", data={"PHASE": "RUN"}), 303, limit=MOST_CHANGE_SECONDS)


def test_a_page_shows_the_beginning_of_a_long_value(client: httpx2.Client) -> None:
    answer = client.post(JOBS, data={"TAG": "word " * 10_000 + "LAST"})
    page = client.get(answer.headers["location"], headers={"accept": ACCEPT["html"]}).text
    assert "LAST" not in page and len(page) < 50_000
    assert f'{answer.headers["location"]}/parameters/TAG">all of it</a>' in page


OPTIONS = {"empty": b";" * 3900, "quotes": b';a="' * 900, "names": b"; filename*=a" * 300, "numbered": b";a*0*=b" * 500}


@pytest.mark.parametrize("name", OPTIONS)
def test_heads_of_parts(watched: Watched, client: httpx2.Client, name: str) -> None:
    """Parsers of their options are slow."""
    body = (b'--XX\r\nContent-Disposition: form-data; name="TAG"%s\r\n\r\nv\r\n' % OPTIONS[name]) * 900 + b"--XX--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=XX"}
    watched.require_swift(client.post(JOBS, content=body, headers=headers), 400)


@pytest.mark.parametrize("name", ["EXECUTIONDURATION", "DESTRUCTION", "MAXREC", "RUNID", "SECONDS", "EXIT", "UPLOAD"])
def test_long_numbers_and_words(watched: Watched, client: httpx2.Client, name: str) -> None:
    for value in ("1" * MIB, "1" + " " * (MIB - 2) + "x", "1 " * (MIB // 2), ";1," * (MIB // 3)):
        form = multipart((name, "text/plain", value.encode()), ("PHASE", "text/plain", b"RUN"))
        watched.require_swift(client.post(JOBS, **form), 303, 400)  # type: ignore[arg-type]


HEADERS = {
    "content-type": 'multipart/form-data; boundary="' + ";" * 50_000,
    "accept": ",;q=1" * 10_000,
    "cookie": ";=" * 25_000,
    "x-forwarded-for": "1," * 25_000,
    "range": "bytes=" + "1" * 50_000 + "-",
    "authorization": "Bearer " + "." * 50_000,
    "idempotency-key": "1" * 50_000,
    "if-none-match": '"1",' * 10_000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_long_headers(watched: Watched, client: httpx2.Client, name: str) -> None:
    for method in ("GET", "POST"):
        watched.require_swift(client.request(method, JOBS, headers={name: HEADERS[name]}), 200, 303, 400)


def test_queries_of_urls(watched: Watched, client: httpx2.Client) -> None:
    for query in ("&" * 50_000, "%41" * 15_000, "a=1&" * 12_000, "LAST=" + "1" * 50_000, "WAIT=" + "1" * 50_000):
        for method in ("GET", "POST"):
            watched.require_swift(client.request(method, f"{JOBS}?{query}"), 200, 303, 400, 413)
    job = client.post(JOBS, data={"TAG": "1"}).headers["location"]
    assert client.get(f"{job}/parameters/TAG?value={'1' * 5000}").status_code == 404


@pytest.mark.parametrize("name", ["CIRCLE", "POLYGON", "POS", "BAND", "POL", "ID"])
def test_cutouts(watched: Watched, client: httpx2.Client, name: str) -> None:
    for values in ("1 2 " * 24_000, "POLYGON" + " 1 2" * 20_000, ["1 2 3"] * 990):
        answer = client.post("/cutout/sync", data={"ID": "ivo://no.such/image", name: values})
        watched.require_swift(answer, 400)


def test_long_lists(watched: Watched, client: httpx2.Client) -> None:
    """Three thousand jobs, listed in every form."""
    for _ in range(3):
        table = "SECONDS\n" + "1\n" * 1000
        watched.require_swift(client.post("/sleep/bulk", files={"TABLE": ("table.csv", table)}), 303)
    for query in ("", "?LAST=100000", "?LAST=2500"):
        for accept in ACCEPT.values():
            watched.require_swift(client.get(f"/sleep/async{query}", headers={"accept": accept}), 200)
    listed = client.get("/sleep/async", headers={"accept": ACCEPT["json"]}).json()
    assert listed["version"] == "1.1" and len({job["id"] for job in listed["jobs"]}) == 3000
    assert len(client.get("/sleep/async?LAST=2500", headers={"accept": ACCEPT["json"]}).json()["jobs"]) == 2500
