"""Words and numbers of UWS, to values and back (UWS 1.1 §2.1, §2.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from uws_service.domain.errors import UsageError
from uws_service.domain.job import MAX_DURATION, Phase

XML_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 can't hold. A carriage return can be, as ``&#13;``; TOPCAT sends queries with them."""

_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?)?Z?", re.ASCII)
_INSTANT_HINT = "YYYY-MM-DDThh:mm:ss.sssZ (UTC; time, fraction and Z may be left out, no other offset)"


def format_instant(ms: int) -> str:
    """Return an instant as documents show it (U-008, C-02, C-33).

    That is UTC with three digits of fraction and Z.
    """
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}.{ms % 1000:03d}Z"


def optional_instant(ms: int | None) -> str | None:
    """Return an instant as documents show it, if there is one."""
    return None if ms is None else format_instant(ms)


def parse_instant(text: str, name: str = "DESTRUCTION") -> int:
    """Return milliseconds since the epoch (U-055, U-135).

    What is finer is cut off. Raises `UsageError`.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is not None:
        year, month, day, hour, minute, second, fraction = match.groups()
        try:
            at = datetime(
                int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
            )
            return int(at.timestamp()) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
        except ValueError:
            pass
    raise UsageError(f"{name}={text[:40]!r} is not an instant; write {_INSTANT_HINT}.")


def parse_duration(text: str, name: str = "EXECUTIONDURATION") -> int:
    """Return whole seconds that fit into xs:int (U-136, U-139).

    "10.0" is taken too, since pyvo may send it.
    """
    try:
        value = float(text.strip()) if re.fullmatch(r"\s*\d+(\.\d*)?\s*", text, re.ASCII) else math.nan
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise UsageError(f"{name}={text[:40]!r} is not a number of seconds; write a whole number, 0 for no limit.")
    return math.ceil(min(value, MAX_DURATION))


def parse_wait(text: str) -> int:
    """Return WAIT in seconds (U-150, U-153, U-155).

    Negative: as long as the service allows.
    """
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise UsageError(f"WAIT={text[:40]!r} is not a whole number of seconds; -1 waits as long as is allowed.")
    return int(text)


def parse_last(text: str | None) -> int | None:
    """Return LAST, an integer above 0 (U-056, U-059)."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) == 0:
        raise UsageError(f"LAST={text[:40]!r} is not a whole number above 0.")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """Return AFTER in milliseconds (U-055).

    A job is later than the instant if its creation is above this number.
    """
    return None if text is None else parse_instant(text, "AFTER")


def parse_phases(values: Sequence[str]) -> frozenset[Phase] | None:
    """Return the union of PHASE filters (U-052, U-053).

    None: there is no filter.
    """
    phases = set()
    for value in values:
        try:
            phases.add(Phase(value.strip().upper()))
        except ValueError:
            raise UsageError(f"PHASE={value[:40]!r} is not a phase; phases are {', '.join(Phase)}.") from None
    return frozenset(phases) or None


def xml_text(text: str) -> str:
    """Replace what XML can't hold by U+FFFD."""
    return XML_ILLEGAL.sub("\ufffd", text)
