"""Values that people type: NAME=VALUE, durations, instants, URLs."""

from __future__ import annotations

import re
import time

import typer

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def pair(word: str) -> tuple[str, str]:
    """Return ``NAME=VALUE``, split at the first equals sign."""
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{word!r} must have the form NAME=VALUE")
    return name, value


def url_of(text: str) -> str:
    """Return a URL that can be asked."""
    if not re.match(r"https?://[^/]", text):
        raise typer.BadParameter(f"{text!r} must be a URL that begins with http:// or https://")
    return text


def duration_seconds(text: str) -> int:
    """Return ``90``, ``90s``, ``30m``, ``2h``, ``1.5d`` in seconds."""
    seconds = _seconds(text)
    if seconds is None:
        raise typer.BadParameter(f"{text!r} must be a number of seconds, or such as 90s, 30m, 2h, 1d")
    return seconds


def _seconds(text: str) -> int | None:
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        return None
    return round(float(match[1]) * _UNITS[match[2]])


def destruction_instant(text: str) -> int:
    """Return an instant, or a time from now, in milliseconds since the epoch."""
    return _instant(text, 1)


def after_instant(text: str) -> int:
    """Return an instant, or a time before now, in milliseconds since the epoch."""
    return _instant(text, -1)


def _instant(text: str, sign: int) -> int:
    from uws_service.client import parse_instant

    seconds = _seconds(text.lstrip("+"))
    if seconds is not None:
        return round(time.time() * 1000) + sign * seconds * 1000
    instant = parse_instant(text)
    if instant is None:
        raise typer.BadParameter(
            f"{text!r} must be an instant such as 2026-01-31T12:00:00Z, or a time such as 2h or 3d"
        )
    return instant
