"""Values as DALI and VOTable write them (DALI 1.1 §3.3).

They are checked, and returned in the form that was sent.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from uws_service.applications.model import ParameterSpec
from uws_service.domain.errors import UsageError

INTEGERS = {
    "unsignedByte": (0, 2**8 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
FLOATS = frozenset({"float", "double"})
TEXTS = frozenset({"char", "unicodeChar"})
MAX_MAGNITUDES = {"float": 3.4028235677973366e38, "double": math.inf}
"""From here on a number can't be held by its type."""
BOOLEANS = frozenset({"true", "t", "1", "false", "f", "0"})

_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)  # linear, however long the text is
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d)(?:\.\d{1,12})?)?Z?", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}


def check_literal(spec: ParameterSpec, text: str) -> None:
    """Raise unless a value has the declared type and bounds.

    D-030, D-031.

    The message names the parameter, the value and what is allowed.
    """
    if spec.options and text not in spec.options:
        raise _wrong(spec, text, f"one of {', '.join(spec.options)}")
    if spec.datatype == "boolean":
        if text.lower() not in BOOLEANS:
            raise _wrong(spec, text, "true or false")
    elif spec.datatype in TEXTS:
        if spec.xtype == "timestamp" and not _is_instant(text):
            raise _wrong(spec, text, "an instant YYYY-MM-DDThh:mm:ss")
        if spec.xtype == "uri" and not _URI.fullmatch(text):
            raise _wrong(spec, text, "a URI with its scheme")
        size = (spec.arraysize or "").rstrip("*")
        if size.isdigit() and len(text) > int(size):
            raise _wrong(spec, text, f"a text of at most {size} characters")
    else:
        _check_numbers(spec, text)


def _is_instant(text: str) -> bool:
    """Return whether a date, or date and time, exists."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00:00'}")
    except ValueError:
        return False
    return True


def _check_numbers(spec: ParameterSpec, text: str) -> None:
    words = text.split() if spec.arraysize else [text.strip()]
    numbers = [_number(spec, word, text) for word in words]
    _check_shape(spec, numbers, text)
    for number in numbers:
        low = spec.minimum is not None and not number >= spec.minimum
        high = spec.maximum is not None and not number <= spec.maximum
        if low or high:
            raise _wrong(spec, text, _range(spec))


def _number(spec: ParameterSpec, word: str, text: str) -> float:
    bounds = INTEGERS.get(spec.datatype)
    if bounds is not None:
        if not _INTEGER.fullmatch(word) or not bounds[0] <= int(word) <= bounds[1]:
            raise _wrong(spec, text, f"a whole number {_range(spec, bounds)}")
        return int(word)
    special = _SPECIAL.get(word.lower())
    if special is not None:
        if spec.xtype in ("point", "circle", "polygon"):
            raise _wrong(spec, text, "finite numbers")
        return special
    if not _FLOAT.fullmatch(word):
        raise _wrong(spec, text, f"a number {_range(spec)}".rstrip())
    number = float(word)
    if abs(number) >= MAX_MAGNITUDES.get(spec.datatype, math.inf):
        raise _wrong(spec, text, f"a number that the type {spec.datatype} can hold")
    return number


def _check_shape(spec: ParameterSpec, numbers: list[float], text: str) -> None:
    """Check how many numbers there are, and their xtype."""
    size = spec.arraysize or "1"
    count = len(numbers)
    if size.isdigit() and count != int(size):
        raise _wrong(spec, text, f"{size} number{'s' if size != '1' else ''}")
    if size.endswith("*") and size[:-1].isdigit() and count > int(size[:-1]):
        raise _wrong(spec, text, f"at most {size[:-1]} numbers")
    pairs = zip(numbers[::2], numbers[1::2], strict=False)
    if spec.xtype == "interval" and (count % 2 or not all(low <= high for low, high in pairs)):
        raise _wrong(spec, text, "an interval: two numbers, the smaller one first")
    if spec.xtype == "point" and (count != 2 or not _on_sky(numbers)):
        raise _wrong(spec, text, "a point: longitude 0..360 and latitude -90..90 in degrees")
    if spec.xtype == "circle" and (count != 3 or not _on_sky(numbers[:2]) or not 0 < numbers[2] <= 180):
        raise _wrong(spec, text, "a circle: longitude, latitude and a radius above 0 in degrees")
    if spec.xtype == "polygon" and (count < 6 or count % 2 or not _on_sky(numbers)):
        raise _wrong(spec, text, "a polygon: at least three pairs of longitude and latitude in degrees")


def _on_sky(numbers: list[float]) -> bool:
    return all(0 <= lon <= 360 for lon in numbers[::2]) and all(-90 <= lat <= 90 for lat in numbers[1::2])


def _range(spec: ParameterSpec, bounds: tuple[float, float] | None = None) -> str:
    low = spec.minimum if spec.minimum is not None else bounds[0] if bounds else None
    high = spec.maximum if spec.maximum is not None else bounds[1] if bounds else None
    if low is None and high is None:
        return ""
    if high is None:
        return f"not below {low:.15g}"
    if low is None:
        return f"not above {high:.15g}"
    return f"from {low:.15g} to {high:.15g}"


def _wrong(spec: ParameterSpec, text: str, allowed: str) -> UsageError:
    unit = f" ({spec.unit})" if spec.unit else ""
    return UsageError(f"{spec.name}={text[:80]!r} is not allowed; it must be {allowed}{unit}.")
