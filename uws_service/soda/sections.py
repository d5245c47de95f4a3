"""Sections of CCD images in headers, such as ``DATASEC = '[25:1048,1:1024]'``, cut along with their image. Pure.

IRAF and the observatories after it name pixels of the image in DATASEC, BIASSEC and TRIMSEC, and the pixels of the
detector that lie in DATASEC in CCDSEC, DETSEC and AMPSEC. A letter behind the name is an amplifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.soda.axes import Pick

Section = tuple[tuple[int, int], ...]
"""First and last pixel of each axis, from 1, both included; the first is the larger one where an axis is mirrored."""

_TEXT = re.compile(r"\s*\[\s*(-?\d+\s*:\s*-?\d+(?:\s*,\s*-?\d+\s*:\s*-?\d+)*)\s*\]\s*")
_IMAGE = re.compile(r"(?:DATASEC|BIASSEC|TRIMSEC|STATSEC|PRESEC|POSTSEC|OVERSEC|OSCANSEC|ROISEC|[BDT]SEC)[A-Z0-9]*")
_DETECTOR = re.compile(r"(?:CCDSEC|DETSEC|AMPSEC|[AC]SEC)([A-Z0-9]*)")


def parse(text: object) -> Section | None:
    """A section; None for any other value."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    ranges = (axis.split(":") for axis in match[1].split(","))
    return tuple((int(first), int(last)) for first, last in ranges)


def form(section: Section) -> str:
    """A section as headers have it."""
    return "[" + ",".join(f"{first}:{last}" for first, last in section) + "]"


def moved(header: Mapping[str, Any], picks: Sequence[Pick]) -> dict[str, str | None]:
    """The sections of a part, by keyword; None for one of which nothing is in the part."""
    values: dict[str, str | None] = {}
    for key in dict.fromkeys(header):
        if (section := parse(header[key])) is None:
            continue
        if _IMAGE.fullmatch(key):
            common = _common(section, picks)
            values[key] = None if common is None else form(_shifted(common, picks))
        elif detector := _DETECTOR.fullmatch(key):
            data = _data(header, detector[1], picks, len(section))
            common = None if data is None else _common(data, picks)
            mapped = None if data is None or common is None else _mapped(section, data, common)
            values[key] = None if mapped is None else form(mapped)
    return values


def _data(header: Mapping[str, Any], amplifier: str, picks: Sequence[Pick], axes: int) -> Section | None:
    """The pixels that a section of the detector corresponds to; all of the image where the header names none."""
    for key in (f"DATASEC{amplifier}", f"DSEC{amplifier}"):
        if (section := parse(header.get(key))) is not None:
            return section if len(section) == axes else None
    if amplifier or len(picks) < axes:
        return None
    return tuple((1, pick.size) for pick in picks[:axes])


def _common(section: Section, picks: Sequence[Pick]) -> Section | None:
    """What of a section lies in the part, in pixels of the whole image."""
    if len(section) > len(picks) or any(pick.step != 1 for pick in picks[: len(section)]):
        return None
    common = []
    for (first, last), pick in zip(section, picks, strict=False):
        low, high = max(min(first, last), pick.start + 1), min(max(first, last), pick.stop)
        if low > high:
            return None
        common.append((low, high) if first <= last else (high, low))
    return tuple(common)


def _shifted(section: Section, picks: Sequence[Pick]) -> Section:
    return tuple((one - pick.start, two - pick.start) for (one, two), pick in zip(section, picks, strict=False))


def _mapped(detector: Section, data: Section, common: Section) -> Section | None:
    """The detector's pixels of the common part; None if a pixel is no whole number of the detector's."""
    mapped = []
    for (first, last), (begin, end), (one, two) in zip(detector, data, common, strict=True):
        binning, rest = divmod(abs(last - first) + 1, abs(end - begin) + 1)
        if rest:
            return None
        sign = 1 if first <= last else -1
        near, far = abs(one - begin), abs(two - begin) + 1
        mapped.append((first + sign * binning * near, first + sign * (binning * far - 1)))
    return tuple(mapped)
