"""The agent's way to the service.

HTTP with the pod's own token. Standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from uws_service.agent.confined import Content
from uws_service.agent.folder import write_secret

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 60.0
RENEWAL_PAUSE_SECONDS = 60.0
"""After this time a renewal that failed is tried again."""
TEMPORARY = frozenset({401, 408, 425, 429, 500, 502, 503, 504, 507})
"""Statuses after which the same request may succeed; 401 too: tokens are renewed, and keys may be fetched late."""


class Unreachable(Exception):
    """No answer, or one that may be different later."""


class Refused(Exception):
    """The service's answer is no, and will stay so."""


class Upstream:
    """The service's resources for agents.

    Parameters
    ----------
    url
        Root of the service as the pod reaches it.
    token
        File with the token. It is read for each request: Kubernetes renews it, or `renew_token` has it done here.
    ca
        File with the certificates that verify the service; None: those of the system.
    """

    def __init__(self, url: str, token: str, ca: str | None = None) -> None:
        parts = urlsplit(url)
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port
        self.prefix = parts.path.rstrip("/") + "/agent/v1/"
        self.token = token
        self.ca = ca
        self._renew_at: float | None = None

    def renew_token(self, after: float | None) -> None:
        """Renew the token at the first request after so many seconds; None: somebody else renews it."""
        self._renew_at = None if after is None else time.monotonic() + after

    def current_token(self) -> str:
        """Return the token, renewed if it is time for that."""
        if self._renew_at is not None and time.monotonic() >= self._renew_at:
            self.renew_token(RENEWAL_PAUSE_SECONDS)  # if it fails; and this request must not renew it once more
            # It is good for much longer; and if the attempt is closed, so says the next answer.
            with contextlib.suppress(Unreachable, Refused, OSError, KeyError, TypeError, ValueError):
                self.fetch_token()
        return self._read_token()

    def fetch_token(self) -> None:
        """Ask for a fresh token now.

        Raises
        ------
        Refused
            The attempt is closed, or somebody else speaks for it.
        """
        fresh = self.post("token", {})
        self._write_token(fresh["token"])
        self.renew_token(float(fresh["renew_after"]))

    def _read_token(self) -> str:
        with open(self.token, encoding="ascii") as file:
            return file.read().strip()

    def _write_token(self, token: str) -> None:
        write_secret(self.token, token)

    def post(self, path: str, body: Any) -> Any:
        """Send JSON, and the JSON that comes back."""
        payload = json.dumps(body).encode()
        with _Answer(self, "POST", path, {"Content-Type": "application/json"}, payload) as answer:
            text = answer.read()
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise Unreachable(f"{path}: the answer is not JSON") from None

    def download(self, path: str, target: str) -> None:
        """Write a file; complete or not at all."""
        draft = f"{target}.part"
        with _Answer(self, "GET", path, {}, None) as answer, open(draft, "wb") as file:
            announced = answer.headers.get("Content-Length", "")
            try:
                while chunk := answer.read(CHUNK_BYTES):
                    file.write(chunk)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise Unreachable(f"{path}: {error!r}") from None
            if announced.isdigit() and file.tell() != int(announced):
                raise Unreachable(f"{path}: cut short")
        os.replace(draft, target)

    def put(self, path: str, content: bytes, sha256: str) -> None:
        """Upload a few bytes."""
        headers = {
            "Content-Length": str(len(content)),
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": sha256,
        }
        with _Answer(self, "PUT", path, headers, content) as answer:
            answer.read()

    def upload(self, path: str, content: Content, sha256: str) -> None:
        """Send an open file of a known size and digest; `Changed` if there is less of it now."""
        headers = {
            "Content-Length": str(content.size),
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": sha256,
        }
        with _Answer(self, "PUT", path, headers, content) as answer:
            answer.read()


class SecretUpstream(Upstream):
    """The service for an agent whose token is in no file, where its command could read it."""

    def _read_token(self) -> str:
        return self.token

    def _write_token(self, token: str) -> None:
        self.token = token

    def renew_token(self, after: float | None) -> None:
        """Do nothing: whoever tells the service that the agent lives renews the token too."""

    def exchange(self, answer: Mapping[str, Any]) -> None:
        """Go on with the token of a claim's answer, in place of the ticket that was shown for it."""
        self._write_token(answer["token"])


class _Answer:
    """One request's answer, checked.

    The connection is closed at the end.
    """

    def __init__(
        self, upstream: Upstream, method: str, path: str, headers: dict[str, str], body: bytes | Content | None
    ) -> None:
        self.upstream, self.method, self.path, self.headers, self.body = upstream, method, path, headers, body

    def __enter__(self) -> http.client.HTTPResponse:
        up = self.upstream
        token = up.current_token()
        if up.secure:
            context = ssl.create_default_context(cafile=up.ca)
            self.connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                up.host, up.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            self.connection = http.client.HTTPConnection(up.host, up.port, timeout=TIMEOUT_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {token}", "Connection": "close", **self.headers}
            body: Any = self.body  # a `Content` has all that http.client asks of a body
            self.connection.request(self.method, up.prefix + quote(self.path), body=body, headers=headers)
            answer = self.connection.getresponse()
            if answer.status >= 300:
                self._complain(answer)
            return answer
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise Unreachable(f"{self.path}: {error!r}") from None
        except BaseException:  # a refusal, a file that changed, or SIGTERM
            self.connection.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def _complain(self, answer: http.client.HTTPResponse) -> None:
        text = answer.read(2000).decode("utf-8", "replace").strip()
        message = text.splitlines()[0] if text else answer.reason
        if answer.status in TEMPORARY:
            raise Unreachable(f"{self.path}: {answer.status} {message}")
        raise Refused(message)
