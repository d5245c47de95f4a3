"""Server-sent events: the lines of a stream (WHATWG HTML §9.2), and what they tell of a job (E-001…E-005)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from uws_service.domain.errors import UsageError
from uws_service.domain.events import EVENT_NAMES, JobEvent
from uws_service.protocol.uws.values import format_instant

MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT = b": \n"
"""A comment line without an empty line after it: a block of comments is an empty message to some readers (E-004)."""
RETRY_MS = 3000
MAX_NUMBER_DIGITS = 18


def block(name: str, data: Mapping[str, Any], *, number: int | None = None, retry: bool = False) -> bytes:
    """Return one event.

    Without a number the client keeps the last one that it got.
    """
    lines = [f"retry: {RETRY_MS}"] if retry else []
    if number is not None:
        lines.append(f"id: {number}")
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return "\n".join([*lines, f"event: {name}", f"data: {text}", "", ""]).encode(errors="replace")


def job_event(event: JobEvent, url: str) -> dict[str, Any]:
    """Return what is told of an event, the same in streams and in notifications (E-002, E-021)."""
    return {
        "job": url,
        "id": event.job_id,
        "application": event.application,
        "event": EVENT_NAMES[event.kind],
        "phase": event.phase,
        "version": event.version,
        "at": format_instant(event.at),
    }


def parse_number(value: str | None, name: str) -> int | None:
    """Return the number of an event.

    None without one.

    Raises
    ------
    UsageError
        It is no number. What a browser sends by itself is never refused (E-003): use `lenient_number`.
    """
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_NUMBER_DIGITS):
        raise UsageError(f"{name} must be the number (id) of an event, not {value[:40]!r}.")
    return int(value)


def lenient_number(value: str | None) -> int | None:
    """Return the number in a Last-Event-ID header.

    -1, which no event has, for anything else.
    """
    if value is None or value == "":
        return None
    try:
        return parse_number(value, "Last-Event-ID")
    except UsageError:
        return -1
