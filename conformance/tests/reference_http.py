"""HTTP around a reference server.

Real sockets, forms and multipart bodies, one thread for each connection.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from reference import Reference
from reference_documents import Pairs, Request


class Handler(BaseHTTPRequestHandler):
    """A handler that passes requests to a reference server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    reference: Reference

    def body(self) -> bytes:
        """Read the body, chunked or with a length."""
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def serve(self) -> None:
        """Answer a request."""
        data = self.body()
        split = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        caller = token if token in ("alice", "bob") else None
        pairs, files = form(self.headers, data)
        query = parse_qsl(split.query, keep_blank_values=True)
        readable = self.headers.get("Content-Type", "") != "multipart/form-data"  # without a boundary
        chunked = "Transfer-Encoding" in self.headers
        reply = self.reference.answer(Request(self.command, split.path, query, pairs, caller, files, readable, chunked))
        body = reply.body.encode()
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            for line in filter(None, value.split("\n")):  # a line for each header of that name
                self.send_header(key, line)
        self.send_header("Content-Type", reply.type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""


def form(headers: Message, data: bytes) -> tuple[Pairs, dict[str, bytes]]:
    """Return the fields of a form and its files."""
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/"):
        return parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True), {}
    if odd := re.search(r'boundary="(<[^"]*>)"', kind):  # the parser would strip the angle brackets
        kind, data = kind.replace(odd[1], "plain"), data.replace(odd[1].encode(), b"plain")
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
    fields: Pairs = []
    files = {}
    for part in message.get_payload() if message.is_multipart() else []:
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = str(part.get_param("name", header="content-disposition"))
        if part.get_filename():
            files[name] = content
        else:
            fields.append((name, content.decode()))
    return fields, files


class QuietServer(ThreadingHTTPServer):
    """A server with a long queue and no error messages."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that went away."""


@contextmanager
def serve(reference: Reference) -> Iterator[str]:
    """Serve while open, and give the job list's URL."""
    server = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"reference": reference}))
    reference.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{reference.url}/async"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
