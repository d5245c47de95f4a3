"""Answers of issuers to token exchange; broader tokens are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

import pytest

from uws_service.auth.exchange import GRANT, exchange, refresh
from uws_service.auth.settings import Auth
from uws_service.auth.tokens import Tokens
from uws_service.domain.errors import Forbidden, ServiceUnavailable

pytestmark = pytest.mark.anyio
GOOD: dict[str, Any] = {"access_token": "new", "token_type": "Bearer", "expires_in": 60, "scope": "read"}


class Endpoint:
    """A token endpoint with set answers; it records requests."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.requests: list[tuple[str | None, dict[str, str]]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = {
                    "issuer": endpoint.url,
                    "jwks_uri": endpoint.url + "/k",
                    "token_endpoint": endpoint.url + "/t",
                }
                self._say(200, {}, json.dumps(document).encode())

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                endpoint.requests.append((self.headers["authorization"], dict(parse_qsl(form))))
                self._say(*endpoint.answer)

            def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
async def tokens(endpoint: Endpoint) -> Any:
    issuer = {"url": endpoint.url, "audience": "uws-api", "client_id": "uws", "client_secret": "s"}
    tokens = Tokens(Auth.model_validate({"issuers": [issuer]}))
    yield tokens
    await tokens.close()


def said(status: int = 200, **changes: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {}, json.dumps({**GOOD, **changes}).encode()


async def test_what_is_asked(endpoint: Endpoint, tokens: Tokens) -> None:
    """RFC 8693 §2.1, authenticated as the service's client."""
    issuer = tokens.issuers[endpoint.url]
    endpoint.answer = said(refresh_token="again")
    granted = await exchange(tokens, issuer, "mine", "https://data", ("read", "list"))
    assert (granted.access, granted.seconds, granted.refresh) == ("new", 60, "again")
    credentials, form = endpoint.requests[0]
    assert credentials is not None and credentials.startswith("Basic ")
    assert form["grant_type"] == GRANT and form["subject_token"] == "mine" and form["audience"] == "https://data"
    assert form["scope"] == "read list" and form["subject_token_type"].endswith("token-type:access_token")
    await refresh(tokens, issuer, "again", "https://data", ("read",))
    assert endpoint.requests[1][1] == {"grant_type": "refresh_token", "refresh_token": "again"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said(access_token="mine"), "own token back"),
        (said(access_token=None), "no bearer token"),
        (said(access_token="a\r\nHost: evil"), "can't be sent"),
        (said(token_type="N_A"), "no bearer token"),
        (said(scope="read write"), "more than the scopes"),
        (said(expires_in=-1), "a time that makes sense"),
        (said(expires_in="soon"), "a time that makes sense"),
        (said(400, error="invalid_target"), "invalid_target"),
        (said(400, error="invalid_grant"), "invalid_grant"),
        (said(401, error="invalid_client"), "invalid_client"),
    ],
)
async def test_answers_that_are_not_taken(
    endpoint: Endpoint, tokens: Tokens, answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    endpoint.answer = answer
    with pytest.raises(Forbidden, match=words) as error:
        await exchange(tokens, tokens.issuers[endpoint.url], "mine", "https://data", ("read",))
    assert "127.0.0.1" in error.value.message


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"Traceback"),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (302, {"location": "http://169.254.169.254/"}, b""),
        said(429, error="slow_down"),
        said(400, error="temporarily_unavailable"),
    ],
)
async def test_answers_that_may_pass(
    endpoint: Endpoint, tokens: Tokens, answer: tuple[int, dict[str, str], bytes]
) -> None:
    endpoint.answer = answer
    with pytest.raises(ServiceUnavailable) as error:
        await exchange(tokens, tokens.issuers[endpoint.url], "mine", "https://data", ("read",))
    assert error.value.retry_after
