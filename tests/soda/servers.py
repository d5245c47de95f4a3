"""An HTTP server of a folder.

It sends parts of files, and counts the bytes that it sends.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Files:
    """A server of a folder on a free port.

    Without ``ranges`` it ignores Range, as some servers do.
    """

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        self.bytes_sent = self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                path = folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content = path.read_bytes()
                range_match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                part = content[int(range_match[1]) : int(range_match[2]) + 1] if range_match and ranges else content
                self.send_response(206 if range_match and ranges else 200)
                if range_match and ranges:
                    self.send_header(
                        "Content-Range", f"bytes {range_match[1]}-{int(range_match[1]) + len(part) - 1}/{len(content)}"
                    )
                self.send_header("Content-Length", str(len(part)))
                self.send_header("Last-Modified", "Mon, 23 Nov 2026 12:00:00 GMT")
                self.end_headers()
                outer.requests += 1
                if body:
                    outer.bytes_sent += len(part)
                    self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
