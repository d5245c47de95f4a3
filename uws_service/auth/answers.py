"""Answers of issuers and of the Permissions API, read up to a bound of bytes and of time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

LARGEST = 512 * 1024
"""Bytes of an answer."""
LONGEST_FACTOR = 3
"""A whole answer may take so many times as long as one silence in it may last."""


class BadAnswer(Exception):
    """The answer can't be used; the message says why."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the value; raise `BadAnswer` if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise BadAnswer("does not answer with JSON") from None


async def fetch_answer(http: httpx2.AsyncClient, method: str, url: str, **more: Any) -> Answer:
    """Send a request and read its answer.

    Nothing compressed is asked for or taken: a small body could become gigabytes.

    Raises
    ------
    BadAnswer
        It is compressed, has more than `LARGEST` bytes, takes too long, or there is none.
    """
    headers = {"accept": "application/json", **more.pop("headers", {}), "accept-encoding": "identity"}
    pause = http.timeout.read
    try:
        async with (
            asyncio.timeout(None if pause is None else LONGEST_FACTOR * pause),
            http.stream(method, url, headers=headers, **more) as answer,
        ):
            coding = answer.headers.get("content-encoding", "identity").strip().lower()
            if coding not in ("", "identity"):
                raise BadAnswer(f"answers with Content-Encoding {coding[:40]!r}, which was not asked for")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > LARGEST:
                    raise BadAnswer(f"answers with more than {LARGEST} bytes")
            return Answer(answer.status_code, answer.headers, bytes(body))
    except httpx2.HTTPError as error:
        raise BadAnswer(f"{type(error).__name__} {error}".rstrip()) from None
    except TimeoutError:
        raise BadAnswer("takes too long to answer") from None
