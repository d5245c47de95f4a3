"""Files of the depot over HTTP (RFC 9110 §13, §14).

Whole or a range, with ETag, streamed in constant memory.

A file may be anything that a user's program wrote, so a browser is told not to guess its type and not to run it.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from uws_service.domain.errors import NotFound
from uws_service.service.files import Files

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first byte and end of a single range.

    None: send everything.

    Raises
    ------
    ValueError
        The range begins after the end (416).
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        if length == 0 or size == 0:
            raise ValueError
        return max(size - length, 0), size
    begin = int(first)
    end = min(int(last) + 1, size) if last else size
    if begin >= size:
        raise ValueError
    return (begin, end) if begin < end else None


async def file_response(
    request: Request,
    depot: Files,
    key: str,
    *,
    size: int,
    media_type: str,
    etag: str,
    filename: str,
) -> Response:
    """Return an object of the depot as a response.

    Its size and type are what the job's document says (U-081).
    """
    tag = f'"{etag}"'
    headers = {
        "etag": tag,
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-security-policy": "sandbox; default-src 'none'",
        "content-disposition": f"inline; filename*=UTF-8''{quote(filename, safe='')}",
    }
    if request.headers.get("if-none-match") in (tag, "*"):
        return Response(status_code=304, headers=headers)
    span = None
    if request.headers.get("if-range") in (None, tag):
        try:
            span = parse_range(request.headers.get("range"), size)
        except ValueError:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
    if await depot.head(key) is None:
        raise NotFound("The file is no longer there.")
    begin, end = span or (0, size)
    headers["content-length"] = str(end - begin)
    if span is not None:
        headers["content-range"] = f"bytes {begin}-{end - 1}/{size}"
    status = 206 if span is not None else 200
    if size == 0 or request.method == "HEAD":
        return Response(status_code=status, headers={**headers, "content-type": media_type})
    response = StreamingResponse(depot.read(key, begin, end), status, headers)
    response.headers["content-type"] = media_type
    return response
