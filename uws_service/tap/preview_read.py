"""Reading a result's preview for a page.

It comes from the job's own output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uws_service.tap.sky import sky_svg

MAX_PREVIEW_BYTES = 1_000_000
"""Bytes of a preview that are read."""


@dataclass(frozen=True, slots=True)
class ResultPreview:
    """A preview: columns, first rows, number of rows, sky plot.

    ``located`` is the number of positions, of which the plot has ``dot_count``; None in a preview of earlier versions,
    whose plot has the first positions.
    """

    columns: Sequence[Mapping[str, str]]
    rows: Sequence[Sequence[str]]
    count: int
    sky: str
    dot_count: int
    located: int | None = None


def parse_preview(content: bytes) -> ResultPreview | None:
    """Parse `uws_service.tap.preview_write`'s JSON; None for anything else.

    A job's command wrote it, so it may be anything.
    """
    try:
        raw: Any = json.loads(content)
        positions = [(float(lon), float(lat)) for lon, lat in raw["positions"]]
        columns = [
            {"name": str(column["name"]), "unit": str(column["unit"] or ""), "description": str(column["description"])}
            for column in raw["columns"]
        ]
        rows = [[str(cell) for cell in row] for row in raw["rows"]]
        located = int(raw["located"]) if "located" in raw else None
        return ResultPreview(columns, rows, int(raw["count"]), sky_svg(positions), len(positions), located)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return None
