"""Texts that name a place (ADQL 2.1 §4.2).

Coordinate systems, and the regions of REGION in the words of STC-S.
"""

from __future__ import annotations

import re

_OTHER_FRAMES = ("GALACTIC", "SUPERGALACTIC", "SUPER_GALACTIC", "ECLIPTIC", "FK4", "B1950")
_IGNORED = frozenset(
    "ICRS FK5 J2000 UNKNOWNFRAME BARYCENTER GEOCENTER HELIOCENTER TOPOCENTER RELOCATABLE UNKNOWNREFPOS "
    "SPHERICAL2".split()
)
_SHAPES = {"POSITION": "POINT", "POINT": "POINT", "CIRCLE": "CIRCLE", "BOX": "BOX", "POLYGON": "POLYGON"}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\Z", re.IGNORECASE | re.ASCII)


def other_frame(system: str) -> str | None:
    """Return the frame of a system far from ICRS."""
    words = re.findall(r"[A-Z0-9_]+", system.upper())
    return next((word for word in words if word in _OTHER_FRAMES), None)


def parse_region(text: str) -> tuple[str, list[float]]:
    """Return the constructor of a region and its numbers.

    They are degrees; raises `ValueError`.
    """
    shape, *words = text.split() or [""]
    if shape.upper() not in _SHAPES:
        raise ValueError(f"REGION can't read '{text[:40]}'")
    if (frame := other_frame(" ".join(words))) is not None:
        raise ValueError(f"REGION takes positions in ICRS, not in {frame}")
    while words and words[0].upper() in _IGNORED:
        words.pop(0)
    wrong = next((word for word in words if not _NUMBER.match(word)), None)
    if wrong is not None:
        raise ValueError(f"'{wrong[:40]}' in the text of REGION is not a number")
    return _SHAPES[shape.upper()], [float(word) for word in words]
