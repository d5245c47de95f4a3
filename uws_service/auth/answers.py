"""Bounded answers of issuers and the Permissions API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

MAX_ANSWER_BYTES = 512 * 1024
TIMEOUT_FACTOR = 3
"""How many times the read timeout an answer may take in all."""


class BadAnswer(Exception):
    """An answer that can't be used.

    The message says why.
    """


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON value; raise `BadAnswer`."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise BadAnswer("does not answer with JSON") from None


async def fetch_answer(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> Answer:
    """Send a request and read its answer.

    Compressed answers are refused: a small body could become gigabytes.

    Raises
    ------
    BadAnswer
        It is compressed, has more than `MAX_ANSWER_BYTES` bytes, takes too long, or there is none.
    """
    headers = {"accept": "application/json", **options.pop("headers", {}), "accept-encoding": "identity"}
    silence = http.timeout.read
    try:
        async with (
            asyncio.timeout(None if silence is None else TIMEOUT_FACTOR * silence),
            http.stream(method, url, headers=headers, **options) as answer,
        ):
            coding = answer.headers.get("content-encoding", "identity").strip().lower()
            if coding not in ("", "identity"):
                raise BadAnswer(f"answers with Content-Encoding {coding[:40]!r}, which was not asked for")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise BadAnswer(f"answers with more than {MAX_ANSWER_BYTES} bytes")
            return Answer(answer.status_code, answer.headers, bytes(body))
    except httpx2.HTTPError as error:
        raise BadAnswer(f"{type(error).__name__} {error}".rstrip()) from None
    except TimeoutError:
        raise BadAnswer("takes too long to answer") from None
