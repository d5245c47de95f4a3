"""A result's preview, read back from the job's own output, as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uws_service.tap.sky import sky_svg

LARGEST = 1_000_000
"""Bytes of a preview that are read."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Columns with name, unit and description, rows as text, how many there are in all, and a picture of the sky.

    ``located`` is the number of positions of which the picture has ``shown``; None in a preview of earlier versions,
    whose picture has the first ones.
    """

    columns: Sequence[Mapping[str, str]]
    rows: Sequence[Sequence[str]]
    count: int
    sky: str
    shown: int
    located: int | None = None


def shown(content: bytes) -> Shown | None:
    """From `uws_service.tap.preview_write`'s JSON; None for anything else, since a command wrote it."""
    try:
        raw: Any = json.loads(content)
        positions = [(float(lon), float(lat)) for lon, lat in raw["positions"]]
        columns = [
            {"name": str(one["name"]), "unit": str(one["unit"] or ""), "description": str(one["description"])}
            for one in raw["columns"]
        ]
        rows = [[str(cell) for cell in row] for row in raw["rows"]]
        located = int(raw["located"]) if "located" in raw else None
        return Shown(columns, rows, int(raw["count"]), sky_svg(positions), len(positions), located)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return None
