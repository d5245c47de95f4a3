"""The form of an answer, from the Accept header.

UWS 1.1 §2.2.2, U-005, C-32.

Programs get the first form on offer unless they name another one; only a browser gets a page. A browser names
``application/xhtml+xml`` beside ``text/html``; Java names ``text/html`` first in every request and wants XML.
"""

from __future__ import annotations

from functools import lru_cache

_TYPES = {
    "xml": ("text/xml", "application/xml"),
    "text": ("text/plain",),
    "json": ("application/json",),
    "html": ("text/html",),
}
_MAX_HEADER_CHARACTERS = 512
"""Characters of an Accept header that are looked at: no client needs more, and what is kept stays small."""


@lru_cache(1024)
def _parsed(accept: str) -> dict[str, float]:
    """Return media ranges with weights (RFC 9110 §12.5.1).

    Malformed weights count as 1.
    """
    weights: dict[str, float] = {}
    for part in accept.split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    weight = float(option[2:])
                except ValueError:
                    weight = 1.0
        if name:
            weights[name] = weight if 0 <= weight <= 1 else 1.0
    return weights


def names(accept: str | None, media_type: str) -> bool:
    """Return whether the client names this very type."""
    return accept is not None and _parsed(accept[:_MAX_HEADER_CHARACTERS]).get(media_type, 0.0) > 0


def best(accept: str | None, offered: tuple[str, ...]) -> str:
    """Return the media type that the client likes best of those it names; the first if it names none."""
    weights = _parsed(accept[:_MAX_HEADER_CHARACTERS]) if accept else {}
    return max(offered, key=lambda media_type: weights.get(media_type, 0.0))


def choose(accept: str | None, offered: tuple[str, ...]) -> str:
    """Return one of the offered forms.

    They are ``xml``, ``text``, ``json``, ``html``; the first is what programs get by default.
    """
    return _chosen(accept[:_MAX_HEADER_CHARACTERS], offered) if accept else offered[0]


@lru_cache(1024)
def _chosen(accept: str, offered: tuple[str, ...]) -> str:
    ranges = _parsed(accept)
    plain = [form for form in offered if form not in ("html", "json")]
    rival = max((ranges.get(kind, 0.0) for form in plain for kind in _TYPES[form]), default=0.0)
    html = ranges.get("text/html", 0.0)
    browser = ranges.get("application/xhtml+xml", 0.0) > 0
    if "html" in offered and browser and html > 0 and html >= rival:
        return "html"
    json = ranges.get("application/json", 0.0)
    if "json" in offered and json > 0 and json >= rival:
        return "json"
    return offered[0]
