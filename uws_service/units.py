"""Types of settings with units: sizes such as ``1GB`` and durations such as ``5m``, as in descriptors."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SIZES = {"": 1, "B": 1, "K": 10**3, "KB": 10**3, "KIB": 2**10, "M": 10**6, "MB": 10**6, "MIB": 2**20,
          "G": 10**9, "GB": 10**9, "GIB": 2**30, "T": 10**12, "TB": 10**12, "TIB": 2**40}  # fmt: skip
_SECONDS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(value: int | str) -> int:
    """Return bytes of a number or a text like 512MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(value))
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(value)
    return int(float(match[1]) * _SIZES[match[2].upper()])


def parse_seconds(value: int | str) -> int:
    """Return seconds of a number or a text like 2h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value))
    if match is None or match[2] not in _SECONDS:
        raise ValueError(value)
    return int(float(match[1]) * _SECONDS[match[2]])


def _bytes(value: Any) -> Any:
    """Return a size in bytes.

    What is no text is left as it is.
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value.strip())
    except ValueError:
        raise ValueError("must be a number of bytes, or a size such as 500MB, 512MiB or 1GB") from None


def _seconds(value: Any) -> Any:
    """Return a duration in seconds.

    What is no text is left as it is.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)  # fractions of a second too
    try:
        return parse_seconds(text)
    except ValueError:
        raise ValueError("must be a number of seconds, or a duration such as 30s, 5m, 2h or 7d") from None


Bytes = Annotated[int, BeforeValidator(_bytes)]
Seconds = Annotated[int, BeforeValidator(_seconds)]
FractionalSeconds = Annotated[float, BeforeValidator(_seconds)]
