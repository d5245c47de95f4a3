"""Types of settings with units: sizes such as ``1GB`` and durations such as ``5m``, as in descriptors."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from uws_service.applications.descriptor import parse_seconds, parse_size


def _bytes(value: Any) -> Any:
    """Return a size in bytes; what is no text is left as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value.strip())
    except ValueError:
        raise ValueError("must be a number of bytes, or a size such as 500MB, 512MiB or 1GB") from None


def _seconds(value: Any) -> Any:
    """Return a duration in seconds; what is no text is left as it is."""
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
