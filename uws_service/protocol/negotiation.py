"""Which form an answer takes, from the Accept header (UWS 1.1 §2.2.2, U-005, C-32).

Programs get the first form on offer unless they name another one; only a browser gets a page. A browser names
``application/xhtml+xml`` beside ``text/html``; Java names ``text/html`` first in every request and wants XML.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

_TYPES = {
    "xml": ("text/xml", "application/xml"),
    "text": ("text/plain",),
    "json": ("application/json",),
    "html": ("text/html",),
}


@lru_cache(1024)
def _parsed(accept: str) -> dict[str, float]:
    """Media ranges with their weights (RFC 9110 §12.5.1); malformed weights count as 1."""
    found: dict[str, float] = {}
    for part in accept[:2000].split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    weight = min(max(float(option[2:]), 0.0), 1.0)
                except ValueError:
                    weight = 1.0
        if name:
            found[name] = weight
    return found


def names(accept: str | None, media_type: str) -> bool:
    """Whether the client names this very type."""
    return accept is not None and _parsed(accept).get(media_type, 0.0) > 0


@lru_cache(1024)
def choose(accept: str | None, offered: Sequence[str]) -> str:
    """One of the offered forms; the first one is what programs get by default."""
    if not accept:
        return offered[0]
    ranges = _parsed(accept)
    html = ranges.get("text/html", 0.0)
    if "html" in offered and html > 0 and ranges.get("application/xhtml+xml", 0.0) > 0:
        return "html"
    rivals = [ranges.get(kind, 0.0) for form in offered if form not in ("html", "json") for kind in _TYPES[form]]
    json = ranges.get("application/json", 0.0)
    if "json" in offered and json > 0 and json >= max([*rivals, 0.0]):
        return "json"
    return offered[0]
