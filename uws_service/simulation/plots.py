"""Figures of a simulation as SVG, written without a library: bars of bytes, and the distribution of waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from uws_service.placement.wording import in_bytes
from uws_service.simulation.figures import BARS, Figures

COLOURS = {
    "least-loaded": "#9467bd",
    "random": "#7f7f7f",
    "data-only": "#ff7f0e",
    "ours": "#1f77b4",
    "oracle": "#2ca02c",
}
WIDTH, LEFT, RIGHT, TOP = 760, 110, 130, 34
BAR_HEIGHT, PLOT_HEIGHT = 26, 260
TICKS = (
    (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36_000, "10 h"), (86_400, "1 d"),
    (864_000, "10 d"), (8_640_000, "100 d"), (86_400_000, "1000 d"),
)  # fmt: skip
SHORTEST_SECONDS = 1.0


def bytes_svg(figures: Sequence[Figures], title: str) -> str:
    """Return bars of the bytes that each policy moves."""
    most = max((item.moved_bytes for item in figures), default=0) or 1
    span = WIDTH - LEFT - RIGHT
    parts = []
    for number, item in enumerate(figures):
        top = TOP + number * BAR_HEIGHT
        width = span * item.moved_bytes / most
        middle = top + BAR_HEIGHT / 2 + 4
        parts += [
            _text(LEFT - 8, middle, item.policy, "end"),
            f'<rect x="{LEFT}" y="{top + 4}" width="{max(1.0, width):.1f}" height="{BAR_HEIGHT - 8}" '
            f'fill="{COLOURS[item.policy]}"/>',
            _text(LEFT + width + 6, middle, in_bytes(item.moved_bytes)),
        ]
    return _document(TOP + BAR_HEIGHT * len(figures) + 10, f"{title}: bytes moved", parts)


def waits_svg(figures: Sequence[Figures], title: str) -> str:
    """Return the part of jobs that start within a time, which is logarithmic."""
    longest = max([SHORTEST_SECONDS * 10, *(item.wait_quantiles[-1] for item in figures)])
    ticks = [tick for number, tick in enumerate(TICKS) if not number or TICKS[number - 1][0] < longest]
    decades = math.log10(max(longest, ticks[-1][0]) / SHORTEST_SECONDS)
    span, bottom = WIDTH - LEFT - RIGHT, TOP + PLOT_HEIGHT

    def place(seconds: float) -> float:
        return LEFT + span * math.log10(max(SHORTEST_SECONDS, seconds) / SHORTEST_SECONDS) / decades

    parts = []
    for seconds, name in ticks:
        x = place(seconds)
        parts += [_line(x, TOP, x, bottom), _text(x, bottom + 18, name, "middle")]
    for percent in (0, 50, 95, 100):
        y = bottom - PLOT_HEIGHT * percent / 100
        parts += [_line(LEFT, y, LEFT + span, y), _text(LEFT - 8, y + 4, f"{percent} %", "end")]
    for number, item in enumerate(figures):
        points = " ".join(
            f"{place(seconds):.1f},{bottom - PLOT_HEIGHT * (index + 1) / BARS:.1f}"
            for index, seconds in enumerate(item.wait_quantiles)
        )
        colour = COLOURS[item.policy]
        key = TOP + 18 * number + 10
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{WIDTH - RIGHT + 12}" y="{key - 8}" width="12" height="4" fill="{colour}"/>',
            _text(WIDTH - RIGHT + 30, key, item.policy),
        ]
    return _document(bottom + 32, f"{title}: jobs whose command has started within a time", parts)


def _document(height: float, title: str, parts: Sequence[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        _text(LEFT, 20, title),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'
