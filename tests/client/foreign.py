"""A small HTTP server that answers as a test tells it to: other people's UWS services, and worse."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

UWS = "http://www.ivoa.net/xml/UWS/v1.0"


@dataclass
class Reply:
    """What to answer.

    ``drop`` closes the connection instead, before or ("body") in the middle of the answer.
    """

    status: int = 200
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: str = ""


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)


Answerer = Callable[[Request], Reply]


class Foreign:
    """A server in a thread.

    ``answer`` is request for each request, ``request`` keeps them all.
    """

    def __init__(self, answer: Answerer | None = None) -> None:
        self.answer: Answerer = answer or (lambda _: Reply(404))
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    {key.lower(): value for key, value in self.headers.items()},
                    self.rfile.read(length),
                )
                outer.requests.append(request)
                reply = outer.answer(request)
                body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                if reply.drop == "all":
                    self._cut()
                    return
                self.send_response(reply.status)
                headers = {"Content-Length": str(len(body)), **reply.headers}
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                if reply.drop == "body":
                    self.wfile.write(body[: len(body) // 2])
                    self._cut()
                    return
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = do_PUT = handle_one

            def _cut(self) -> None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                """Log nothing: tests look at ``requests`` instead."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Ignore clients that go away: tests do that."""

        self.httpd = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=lambda: self.httpd.serve_forever(poll_interval=0.02), daemon=True)

    def __enter__(self) -> Foreign:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    def paths(self, method: str) -> list[str]:
        return [request.path for request in self.requests if request.method == method]


def xml(body: str, status: int = 200) -> Reply:
    """Return an XML answer."""
    return Reply(status, body, {"Content-Type": "text/xml"})


def job(phase: str, content: str = "", *, version: str = "1.1", job_id: str = "42") -> str:
    """Return a job document with a prefix that no client may rely on."""
    attribute = f' version="{version}"' if version else ""
    return (
        f'<?xml version="1.0"?><w:job xmlns:w="{UWS}" xmlns:l="http://www.w3.org/1999/xlink" '
        f'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"{attribute}>'
        f"<w:jobId>{job_id}</w:jobId><w:ownerId i:nil='true'/><w:phase>{phase}</w:phase>{content}</w:job>"
    )


class Runner:
    """A UWS service with one job that goes through phases: each for some seconds, from the first look.

    ``blocking`` False ignores WAIT; ``version`` "" is a 1.0 server.
    """

    def __init__(self, *phases: tuple[str, float], blocking: bool = True, version: str = "1.1") -> None:
        self.phases = phases
        self.blocking = blocking
        self.version = version
        self.start: float | None = None

    def phase(self) -> str:
        if self.start is None:
            self.start = time.monotonic()
        passed = time.monotonic() - self.start
        for phase, seconds in self.phases[:-1]:
            if passed < seconds:
                return phase
            passed -= seconds
        return self.phases[-1][0]

    def __call__(self, request: Request) -> Reply:
        if request.method != "GET":
            return Reply(405)
        wait = float(request.query.get("WAIT", ["0"])[0])
        if self.blocking and wait and request.query.get("PHASE") == [self.phase()]:
            end = time.monotonic() + wait
            before = self.phase()
            while time.monotonic() < end and self.phase() == before:
                time.sleep(0.01)
        return xml(job(self.phase(), version=self.version))
