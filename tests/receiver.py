"""A server that takes webhooks, for tests.

It notes each request and answers as it is told.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Notice:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """Takes POST requests in a thread, over TLS if it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.notices: list[Notice] = []
        self.status: int | Callable[[Notice], int] = 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                notice = Notice(self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                receiver.notices.append(notice)
                status = receiver.status(notice) if callable(receiver.status) else receiver.status
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def wait(self, count: int, seconds: float = 120) -> list[Notice]:
        """Return the requests once there are so many."""
        end = time.monotonic() + seconds
        while len(self.notices) < count:
            assert time.monotonic() < end, f"{len(self.notices)} of {count} requests came in {seconds} s"
            time.sleep(0.02)
        return list(self.notices)

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join(30)
        self.server.server_close()
