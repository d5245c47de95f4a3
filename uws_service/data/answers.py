"""Answers of catalogues, bounded in bytes, lines and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

ANSWER_MAX_BYTES = 64 * 2**20
LINE_MAX_BYTES = 4 * 2**20
LINES_MAX = 200_000
REFUSAL_MAX_BYTES = 64 * 1024
TIMEOUT_FACTOR = 10
"""How many times the time without a byte a whole answer may take."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class CatalogueFault(Exception):
    """A catalogue gave no usable answer.

    The message says why.

    ``transient``: it may give one later. ``location``: where it leads instead.
    """

    def __init__(self, message: str, *, transient: bool = True, status: int = 0, location: str = "") -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status
        self.location = location


class TooMuch(CatalogueFault):
    """The answer is larger than its bounds."""


def open_client(timeout: float, connections: int = 10) -> httpx2.AsyncClient:
    """Return a client that follows no redirects and reads no proxies from the environment."""
    return httpx2.AsyncClient(
        timeout=timeout,
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "uws-service"},
    )


@asynccontextmanager
async def answer_of(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> AsyncIterator[httpx2.Response]:
    """Send a request.

    Raise `CatalogueFault` unless the answer is good and not compressed.
    """
    headers = {**options.pop("headers", {}), "accept-encoding": "identity"}
    silence = http.timeout.read or 60.0
    host = httpx2.URL(url).host
    try:
        async with (
            asyncio.timeout(TIMEOUT_FACTOR * silence),
            http.stream(method, url, headers=headers, **options) as answer,
        ):
            if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                raise CatalogueFault(f"{host} answers in a content coding that was not asked for")
            if not 200 <= answer.status_code < 300:
                text = await _refusal(answer)
                raise CatalogueFault(
                    f"{host} answers {answer.status_code}{': ' + text if text else ''}",
                    transient=answer.status_code in TEMPORARY,
                    status=answer.status_code,
                    location=answer.headers.get("location", ""),
                )
            yield answer
    except httpx2.HTTPError as error:
        raise CatalogueFault(f"{host} does not answer: {type(error).__name__} {error}".rstrip()) from None
    except TimeoutError:
        raise CatalogueFault(f"{host} takes too long to answer") from None


async def _refusal(answer: httpx2.Response) -> str:
    """Return a line of what the answer says."""
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > REFUSAL_MAX_BYTES:
            break
    text = " ".join(body.decode("utf-8", "replace").split())
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        words = (document.get(key) for key in ("ExceptionMessage", "detail", "message"))
        text = next((str(word) for word in words if word), text)
    return "".join(character for character in text if character.isprintable())[:200]


async def read_body(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> bytes:
    """Return the body of an answer."""
    body = bytearray()
    async with answer_of(http, method, url, **options) as answer:
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > ANSWER_MAX_BYTES:
                raise TooMuch(f"{answer.url.host} answers with more than {ANSWER_MAX_BYTES} bytes", transient=False)
    return bytes(body)


async def read_json(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> Any:
    """Return the JSON value of an answer."""
    try:
        return json.loads(await read_body(http, method, url, **options))
    except (ValueError, RecursionError):
        raise CatalogueFault(f"{httpx2.URL(url).host} does not answer with JSON") from None


async def read_lines(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> list[Mapping[str, Any]]:
    """Return the objects of an answer in lines of JSON."""
    host = httpx2.URL(url).host
    objects: list[Mapping[str, Any]] = []
    size = 0
    rest = b""
    async with answer_of(http, method, url, **options) as answer:
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            objects += [_object(line, host) for line in lines if line.strip()]
            if size > ANSWER_MAX_BYTES or len(objects) > LINES_MAX or len(rest) > LINE_MAX_BYTES:
                raise TooMuch(
                    f"{host} answers with more than {ANSWER_MAX_BYTES} bytes or {LINES_MAX} lines", transient=False
                )
    if rest.strip():
        objects.append(_object(rest, host))
    return objects


def _object(line: bytes, host: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CatalogueFault(f"{host} does not answer with objects in lines of JSON")
    return value
