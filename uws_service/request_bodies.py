"""Bodies of requests from programs: JSON of a bounded size, and files whose size and digest are announced."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from uws_service.domain.errors import TooLarge, UsageError

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_JSON_BYTES = 1024 * 1024
SIZE_DIGITS = 18
"""Of a Content-Length: no file has more bytes than such a number says."""


def announced(request: Request) -> tuple[int, str]:
    """Return the size and the SHA-256 of a body that its headers announce; raise `UsageError`."""
    length, digest = request.headers.get("content-length", ""), request.headers.get("x-content-sha256", "")
    if not (length.isascii() and length.isdigit() and len(length) <= SIZE_DIGITS):
        raise UsageError("The Content-Length header is missing.")
    return int(length), digest.lower()


async def chunks_of(request: Request) -> AsyncIterator[bytes]:
    """Yield a body as it comes."""
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def json_of(request: Request, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the object in a JSON body of at most so many bytes.

    Raises
    ------
    TooLarge
        The body is larger.
    UsageError
        It is no JSON, or no object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError("The body must be a JSON object.")
    return value
