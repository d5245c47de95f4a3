"""Quotas, caches and limits under concurrent requests."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest
from lxml import etree

from tests import databases
from tests.server import Server
from tests.service.conftest import PROBE

MB = 1_000_000
QUOTAS = {
    "anonymous": {"rate": 2, "running": 1},
    "owners": {"ada": {"running": 1}, "ben": {"stored": MB}, "none": {"running": 0}, "tim": {"stored": 100_000}},
}
UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "UWS_APPLICATIONS": f'["{PROBE}"]',
        "UWS_IDENTITY_HEADER": "X-Auth-Request-User",
        "UWS_AUTH": json.dumps({"quotas": QUOTAS}),
        "UWS_LIMITS__UNFINISHED": str(20 * MB),
        "UWS_LIMITS__FORM_MEMORY": str(150 * MB),
        "UWS_SITES": '[{"name": "local", "slots": 4}]',
    }
    if request.param == "postgresql":
        settings |= {"UWS_DATABASE": databases.new_postgresql(), "UWS_AUTO_MIGRATE": "true"}
    running = Server(tmp_path_factory.mktemp("bounds"), settings)
    running.start()
    yield running
    running.stop()


def http_of(user: str) -> httpx2.Client:
    return httpx2.Client(timeout=60, headers={"X-Auth-Request-User": user})


def span(http: httpx2.Client, job: str) -> tuple[float, float]:
    """Wait for a job's end; return its times."""
    for _ in range(60):
        document = etree.fromstring(http.get(f"{job}?WAIT=5").content)
        if document.findtext(f"{UWS}phase") == "COMPLETED":
            begin, end = (document.findtext(f"{UWS}{name}") or "" for name in ("startTime", "endTime"))
            return datetime.fromisoformat(begin).timestamp(), datetime.fromisoformat(end).timestamp()
    raise AssertionError(etree.tostring(document))


def test_jobs_beyond_the_running_quota_wait(server: Server) -> None:
    """Jobs of an owner run one after the other.

    Requests at the same moment are all accepted, and other owners are not held up.
    """
    jobs: list[str] = []

    def start() -> None:
        with http_of("ada") as http:
            answer = http.post(f"{server.url}/probe/async", data={"SECONDS": "1", "PHASE": "RUN"})
            assert answer.status_code == 303, answer.text
            jobs.append(answer.headers["location"])

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with http_of("ada") as ada, http_of("eve") as eve:
        assert len(jobs) == 4
        other_job = eve.post(f"{server.url}/probe/async", data={"PHASE": "RUN"}).headers["location"]
        words = ""
        while "1 of your jobs run" not in words and any(ada.get(f"{job}/phase").text == "QUEUED" for job in jobs):
            words += "".join(ada.get(job).text for job in jobs)
        assert "1 of your jobs run" in words
        _, other_end = span(eve, other_job)
        spans = sorted(span(ada, job) for job in jobs)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans)), spans
    assert other_end < spans[-1][0]


def test_who_may_run_nothing(server: Server) -> None:
    with http_of("none") as http:
        refused = http.post(f"{server.url}/probe/async", data={"PHASE": "RUN"})
        assert refused.status_code == 403 and "none of yours may run" in refused.text


class Upload:
    """A form whose file comes slowly or never ends."""

    def __init__(self, server: Server, user: str, path: str = "/probe/async") -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Auth-Request-User: {user}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self._chunk(b'--b\r\nContent-Disposition: form-data; name="FILE"; filename="f"\r\n\r\n')
        self.sent_bytes = 0

    def _chunk(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def send(self, size: int) -> bool:
        """Send bytes; False if the service stopped reading."""
        try:
            for _ in range(size // 50_000):
                self._chunk(b"x" * 50_000)
                self.sent_bytes += 50_000
        except OSError:
            return False
        return True

    def answer(self) -> str:
        """Return the response.

        Empty if the connection is closed.
        """
        try:
            return self.socket.recv(65_536).decode()
        except OSError:
            return ""

    def finish(self) -> str:
        """Send the end; return the response."""
        self._chunk(b"\r\n--b--\r\n")
        self.socket.sendall(b"0\r\n\r\n")
        return self.answer()

    def answered(self) -> bool:
        """Return whether a response has come."""
        self.socket.settimeout(0.2)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(60)


def test_an_upload_beyond_the_quota_is_stopped(server: Server) -> None:
    """An upload over the quota is refused early."""
    upload = Upload(server, "ben")
    while upload.sent_bytes < 100 * MB and upload.send(MB // 2) and not upload.answered():
        pass
    assert upload.sent_bytes < 20 * MB
    assert upload.answer().startswith("HTTP/1.1 403 ")
    upload.socket.close()
    with http_of("ben") as http:
        fits = http.post(f"{server.url}/probe/async", files={"FILE": ("f", b"x" * (MB - 1000))})
        assert fits.status_code == 303, fits.text
        job = fits.headers["location"]
        response = http.post(f"{job}/parameters", files={"FILE": ("g", b"x" * 2000)})
        assert (response.status_code == 403 and "quota" in response.text.lower()) or "allowed" in response.text
        assert http.delete(job).status_code == 303


def test_uploads_on_their_way_count(server: Server) -> None:
    """Concurrent uploads share the quota.

    The room is free again when an upload is given up.
    """
    first, second = Upload(server, "ben"), Upload(server, "ben")
    first.send(600_000)
    time.sleep(1)
    second.send(600_000)
    assert second.answer().startswith("HTTP/1.1 403 ")
    second.socket.close()
    first.socket.close()
    end = time.monotonic() + 30
    while True:
        third = Upload(server, "ben")
        third.send(900_000)
        response = third.finish()
        third.socket.close()
        if response.startswith("HTTP/1.1 303 "):
            break
        assert time.monotonic() < end, response
        time.sleep(0.2)
    location = next(line.partition(": ")[2] for line in response.splitlines() if line.lower().startswith("location: "))
    with http_of("ben") as http:
        assert http.delete(location).status_code == 303


def test_all_uploads_on_their_way_are_bounded(server: Server) -> None:
    """Uploads in progress have a bound: 503."""
    uploads = [Upload(server, f"user{number}") for number in range(5)]
    refused = 0
    for upload in uploads:
        for _ in range(12):
            if not upload.send(MB // 2) or upload.answered():
                refused += 1
                assert "503" in upload.answer()[:20]
                break
    assert refused >= 1
    for upload in uploads:
        upload.socket.close()
    end = time.monotonic() + 30
    with http_of("late") as http:
        while http.post(f"{server.url}/probe/async", files={"FILE": ("f", b"x" * MB)}).status_code != 303:
            assert time.monotonic() < end
            time.sleep(0.2)


def _memory(server: Server) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_large_job_documents_are_not_collected(server: Server) -> None:
    """Large documents are not cached."""
    with http_of("eve") as http:
        data = {f"V{number}": "&" * 900_000 for number in range(3)}
        jobs = [http.post(f"{server.url}/sleep/async", data=data).headers["location"] for _ in range(10)]
        http.get(jobs[0])
        before = _memory(server)
        size = sum(len(http.get(job).content) for job in jobs)
        assert size > 100 * MB
        assert _memory(server) - before < 60 * MB


class LargeForm:
    """A form whose values stay in memory, as it never ends."""

    def __init__(self, server: Server, user: str, method: str, path: str, kind: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Auth-Request-User: {user}\r\n"
            f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.socket.sendall(head.encode())

    def send(self, data: bytes) -> None:
        """Send bytes, unless the service has stopped reading."""
        with contextlib.suppress(OSError):
            self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def refusal(self, seconds: float = 0.3) -> str:
        """Return the answer, if there is any yet."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(65_536).decode()
        except OSError:
            return ""


URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="TAG"\r\n\r\n'


@pytest.mark.parametrize("path", ["/probe/async", "/probe/sync", "/tap/sync", "/probe/bulk", "/cutout/sync", "job"])
def test_values_on_their_way_are_bounded(server: Server, path: str) -> None:
    """One caller's forms have a bound of memory, and all together; small ones are taken meanwhile."""
    before = _memory(server)
    if path == "job":
        with http_of("user0") as http:
            path = http.post(f"{server.url}/probe/async").headers["location"].removeprefix(server.url) + "/parameters"
    forms: list[LargeForm] = []
    refused = []
    for number in range(8):
        form = LargeForm(
            server, "user0" if number < 2 or "/async/" in path else f"user{number}", "POST", path, URLENCODED
        )
        forms.append(form)
        for _ in range(40):
            form.send(b"x" * MB)
        refused.append(form.refusal())
    statuses = [text[9:12] for text in refused]
    assert statuses[:2] == ["", "429"], refused
    assert set(statuses[2:]) <= {"", "429", "503"} and statuses.count("") <= 4, refused
    assert _memory(server) - before < 400 * MB
    with http_of("user0") as http:
        assert http.post(f"{server.url}/probe/async", data={"TAG": "x" * 30_000}).status_code == 303
    for form in forms:
        form.socket.close()
    until_free(server, "user0")


@pytest.mark.parametrize(
    ("method", "kind", "head"), [("POST", MULTIPART, PART), ("PUT", "text/plain", b"")], ids=["POST", "PUT"]
)
def test_small_pieces_on_their_way_are_bounded(server: Server, method: str, kind: str, head: bytes) -> None:
    """It does not matter over how many connections they come."""
    with http_of("user0") as http:
        job = http.post(f"{server.url}/probe/async", data={"TAG": "x"}).headers["location"].removeprefix(server.url)
    path = f"{job}/parameters/TAG" if method == "PUT" else "/probe/async"
    forms = [LargeForm(server, "user0", method, path, kind) for _ in range(70)]
    for form in forms:
        form.send(head + b"x" * MB)
    statuses = [form.refusal()[9:12] for form in forms]
    assert statuses.count("429") >= 10 and set(statuses) == {"", "429"}
    for form in forms:
        form.socket.close()
    until_free(server, "user0")


def until_free(server: Server, user: str) -> None:
    """Wait until a caller may send large values again."""
    end = time.monotonic() + 30
    data = {"TAG": ["x" * MB] * 15}
    with http_of(user) as http:
        while (answer := http.post(f"{server.url}/probe/async", data=data)).status_code != 303:
            assert time.monotonic() < end, answer.text
            time.sleep(0.2)
        http.delete(answer.headers["location"])


STORED = {
    "names": {f"{number:04d}" + "n" * 240: "" for number in range(900)},
    "control characters": {"TAG": "\x01" * 40_000},
    "letters": {"TAG": "é" * 40_000},
    "many": {f"N{number}": "x" * 90 for number in range(900)},
}


WAYS = [(way, kind) for way in ("new", "later", "put", "table") for kind in STORED]


@pytest.mark.parametrize(
    ("way", "kind"), [(way, kind) for way, kind in WAYS if way in ("new", "later") or "TAG" in STORED[kind]]
)
def test_parameters_count_as_they_are_stored(server: Server, way: str, kind: str) -> None:
    """Names too, and what a character takes, however the parameters come."""
    data = STORED[kind]
    with http_of("tim") as http:
        if way == "new":
            answer = http.post(f"{server.url}/probe/async", data=data)
        elif way == "table":
            table = "TAG\n" + f'"{data["TAG"][:20_000]}"\n' * 2
            answer = http.post(f"{server.url}/probe/bulk", files={"TABLE": ("t.csv", table.encode())})
        else:
            job = http.post(f"{server.url}/probe/async", data={"TAG": "x"}).headers["location"]
            if way == "put":
                answer = http.put(f"{job}/parameters/TAG", content=data["TAG"].encode())
            else:
                answer = http.post(f"{job}/parameters", data=data)
            http.delete(job)
    assert answer.status_code == 403 and "100000 are allowed" in answer.text, answer.text[:300]


def from_address(server: Server, address: str, path: str, **query: str) -> httpx2.Response:
    """Send a request as a proxy does for somebody without a name."""
    return httpx2.get(server.url + path, params=query, headers={"X-Forwarded-For": address}, timeout=60)


def test_a_network_of_ipv6_addresses_is_one_caller(server: Server) -> None:
    """One customer has 2^64 of them: rates and queries count for all together."""
    addresses = [f"2001:db8::{number:x}" for number in range(1, 60)]
    statuses = [from_address(server, addresses[0], "/probe/async").status_code]
    with ThreadPoolExecutor(20) as pool:
        while 429 not in statuses and len(statuses) < 5_000:  # however slow the machine is beside the rate
            statuses += pool.map(lambda address: from_address(server, address, "/probe/async").status_code, addresses)
    assert statuses[0] == 200 and set(statuses) == {200, 429}, statuses
    assert from_address(server, "2001:db8:0:1::1", "/probe/async").status_code == 200
    assert from_address(server, "192.0.2.1", "/probe/async").status_code == 200


def test_queries_of_a_network_count_together(server: Server) -> None:
    """They are those of one caller."""
    slow = "SELECT COUNT(*) FROM openngc.objects a, openngc.objects b, openngc.objects c WHERE a.ra + b.ra > c.ra"
    path = "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": slow})
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 2001:db8:7::1\r\n\r\n"
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 name FROM openngc.objects"}
    end = time.monotonic() + 60
    with contextlib.ExitStack() as stack:
        connection: socket.socket | None = None
        while "1 queries that run" not in (answer := from_address(server, "2001:db8:7::2", "/tap/sync", **query)).text:
            assert time.monotonic() < end, answer.text
            # Answered already: it came while the short query ran, and was refused itself.
            if connection is None or select.select([connection], [], [], 0)[0]:
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                connection.sendall(head.encode())
            time.sleep(0.7)
        assert answer.status_code == 429
        assert from_address(server, "2001:db8:8::1", "/tap/sync", **query).status_code == 200
