"""Sections of CCD images in headers. Pure.

``DATASEC = '[25:1048,1:1024]'`` is cut along with its image.
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
    """Parse a section.

    Return None for any other value.
    """
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    ranges = (axis.split(":") for axis in match[1].split(","))
    return tuple((int(first), int(last)) for first, last in ranges)


def to_text(section: Section) -> str:
    """Return a section as headers have it."""
    return "[" + ",".join(f"{first}:{last}" for first, last in section) + "]"


def move_sections(header: Mapping[str, Any], picks: Sequence[Pick]) -> dict[str, str | None]:
    """Return the sections of a part, by keyword.

    It is None for a section that lies outside the part.
    """
    values: dict[str, str | None] = {}
    for key in dict.fromkeys(header):
        if (section := parse(header[key])) is None:
            continue
        if _IMAGE.fullmatch(key):
            common = _intersection(section, picks)
            values[key] = None if common is None else to_text(_shift(common, picks))
        elif detector := _DETECTOR.fullmatch(key):
            data = _data_section(header, detector[1], picks, len(section))
            common = None if data is None else _intersection(data, picks)
            detector_section = None if data is None or common is None else _map_to_detector(section, data, common)
            values[key] = None if detector_section is None else to_text(detector_section)
    return values


def _data_section(header: Mapping[str, Any], amplifier: str, picks: Sequence[Pick], axes: int) -> Section | None:
    """Return the pixels that a detector's section corresponds to.

    They are all of the image where the header names none.
    """
    for key in (f"DATASEC{amplifier}", f"DSEC{amplifier}"):
        if (section := parse(header.get(key))) is not None:
            return section if len(section) == axes else None
    if amplifier or len(picks) < axes:
        return None
    return tuple((1, pick.size) for pick in picks[:axes])


def _intersection(section: Section, picks: Sequence[Pick]) -> Section | None:
    """Return what of a section lies in the part.

    It is in pixels of the whole image.
    """
    if len(section) > len(picks) or any(pick.step != 1 for pick in picks[: len(section)]):
        return None
    ranges = []
    for (first, last), pick in zip(section, picks, strict=False):
        low, high = max(min(first, last), pick.start + 1), min(max(first, last), pick.stop)
        if low > high:
            return None
        ranges.append((low, high) if first <= last else (high, low))
    return tuple(ranges)


def _shift(section: Section, picks: Sequence[Pick]) -> Section:
    return tuple((low - pick.start, high - pick.start) for (low, high), pick in zip(section, picks, strict=False))


def _map_to_detector(detector: Section, data: Section, common: Section) -> Section | None:
    """Return the detector's pixels of the common part.

    None if a pixel is no whole number of the detector's.
    """
    ranges = []
    for (first, last), (begin, end), (start, stop) in zip(detector, data, common, strict=True):
        binning, remainder = divmod(abs(last - first) + 1, abs(end - begin) + 1)
        if remainder:
            return None
        sign = 1 if first <= last else -1
        near, far = abs(start - begin), abs(stop - begin) + 1
        ranges.append((first + sign * binning * near, first + sign * (binning * far - 1)))
    return tuple(ranges)
