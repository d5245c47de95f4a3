"""How values are shown to people: sizes, lengths of time, instants, bounds. Pure."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from uws_service.protocol.uws import format_instant


def size_text(size: int) -> str:
    """Return a size for people.

    ``512 B``, ``1.5 MiB``.
    """
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """Return a duration for people.

    ``3.2 s``, ``2 d 4 h``.
    """
    rounded = round(seconds, 1)
    if rounded < 60:
        return f"{rounded:.1f} s" if rounded != int(rounded) else f"{int(rounded)} s"
    remainder = int(rounded)
    parts: list[tuple[int, str]] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if remainder >= length or parts:
            parts.append((remainder // length, unit))
            remainder %= length
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def instant_text(ms: int) -> str:
    """Return an instant for people, in UTC."""
    return format_instant(ms)[:19].replace("T", " ") + " UTC"


def number_text(value: float | None) -> str:
    """Return a bound, whole numbers without ``.0``."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def prose(text: str) -> Markup:
    """Return a description as HTML: what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # escaped before
