"""The chart of a day's load as SVG.

Rate, lists, memory and store by the jobs that have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from tests.bench.day import Sample

WIDTH, MARGIN, RIGHT, TOP, HEIGHT, GAP = 760, 90, 110, 40, 110, 38
COLOURS = {"sqlite": "#1f77b4", "postgresql": "#ff7f0e"}
PANELS = (
    ("rate", "jobs a second"),
    ("list_ms", "a list of 100 jobs, median, ms"),
    ("memory_mib", "memory of the service, MiB"),
    ("store_mib", "size of the store, MiB"),
)


def drawn(days: Mapping[str, Sequence[Sample]], waiters: int, listers: int) -> str:
    """Return the chart."""
    most_jobs = max((samples[-1].jobs for samples in days.values() if samples), default=1)
    span = WIDTH - MARGIN - RIGHT
    parts = []
    for number, (value, label) in enumerate(PANELS):
        top = TOP + number * (HEIGHT + GAP)
        highest = max((getattr(sample, value) for samples in days.values() for sample in samples), default=1.0) or 1.0
        parts += [
            _text(MARGIN, top - 8, label),
            *(_line(top + HEIGHT * part, MARGIN, MARGIN + span) for part in (0.0, 0.5, 1.0)),
            *(_text(MARGIN - 8, top + HEIGHT * (1 - part) + 4, f"{highest * part:.3g}", "end") for part in (0, 0.5, 1)),
        ]
        for row, (name, samples) in enumerate(days.items()):
            heights = [(sample.jobs, HEIGHT * (1 - getattr(sample, value) / highest)) for sample in samples]
            points = " ".join(f"{MARGIN + span * jobs / most_jobs:.1f},{top + height:.1f}" for jobs, height in heights)
            colour = COLOURS.get(name, "#7f7f7f")
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            parts.append(_text(MARGIN + span + 12, top + 14 + 18 * row, name, colour=colour))
    bottom = TOP + len(PANELS) * (HEIGHT + GAP)
    parts += [_text(MARGIN + span * part, bottom - 18, f"{most_jobs * part:,.0f}", "middle") for part in (0, 0.5, 1)]
    title = f"{most_jobs:,} jobs through their whole life, beside {waiters:,} waiters and {listers} list readers"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" role="img" font-family="sans-serif" '
        'font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{bottom}" fill="#ffffff"/>',
        _text(MARGIN, 16, title),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(y: float, begin: float, end: float) -> str:
    return f'<line x1="{begin}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="#dddddd"/>'
