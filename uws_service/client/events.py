"""Streams of events of jobs, followed over cuts (server-sent events, WHATWG HTML §9.2; no part of UWS)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from uws_service.client.errors import BadDocument, NetworkError, ServerError
from uws_service.client.http import Http

SILENCE_SECONDS = 60.0
"""A service sends something every 15 s; after so long without, the connection is taken for dead."""
PATIENCE_SECONDS = 120.0
"""Seconds for which a service may be away: it may be restarting."""
MAX_LINE_CHARACTERS = 16 * 1024 * 1024
BUSY = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event as it came.

    ``number`` is that of the last event with one.
    """

    name: str
    data: dict[str, Any]
    number: str


def follow(http: Http, url: str, after: str | None = None) -> Iterator[ServerEvent]:
    """Yield the events of a stream until it ends for good (204); come back where it was cut.

    Raises
    ------
    ServerError, BadDocument
        There is no stream at the URL, or it is not for this caller.
    NetworkError
        The service is away for too long.
    """
    last, pause, away_since = after, 3.0, None
    while True:
        try:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            with http.stream("GET", url, headers=headers, timeout=SILENCE_SECONDS) as response:
                if response.status_code == 204:
                    return
                kind = response.headers.get("content-type", "")
                if not kind.startswith("text/event-stream"):
                    raise BadDocument(f"{url} answers with {kind or 'no type'} where a stream of events was expected")
                away_since = None
                for event in _events(_lines(http.chunks(response)), last or ""):
                    last = event.number or last
                    yield event
        except (NetworkError, ServerError) as error:
            if isinstance(error, ServerError) and error.status not in BUSY:
                raise
            now = time.monotonic()
            away_since = away_since if away_since is not None else now
            if now - away_since > PATIENCE_SECONDS:
                raise
            time.sleep(pause)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    tail = b""
    for chunk in chunks:
        tail += chunk
        *lines, tail = tail.split(b"\n")
        if len(tail) > MAX_LINE_CHARACTERS:
            raise BadDocument("a line of the stream is too long")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")


def _events(lines: Iterator[str], last: str) -> Iterator[ServerEvent]:
    name, data = "message", ""
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name, _object(data), last)
            name, data = "message", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            last = value
        elif field == "event":
            name = value
        elif field == "data":
            data = f"{data}\n{value}" if data else value


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadDocument("the stream holds something that is no JSON object")
    return value
