"""Two columns as a picture: points in a frame with labelled axes.

SVG with presentation attributes only, so that it needs no style of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 78, 16, 16, 52
MAX_TICKS = 8
MAX_DRAWN = 1e300
"""Differences of larger values overflow."""
Values = Sequence[float | None]


def plot_svg(x: Values, y: Values, x_label: str, y_label: str, *, upside_down: bool = False) -> tuple[str, int]:
    """Draw one column over another.

    Parameters
    ----------
    x, y
        The values; rows where either is missing, or beyond 1e300, are left out.
    upside_down
        Whether ``y`` grows downwards, as magnitudes are drawn.

    Returns
    -------
    picture
        Empty if there is nothing to draw.
    count
        How many points it has.
    """
    points = [
        (a, b)
        for a, b in zip(x, y, strict=True)
        if a is not None and b is not None and max(abs(a), abs(b)) <= MAX_DRAWN
    ]
    if not points:
        return "", 0
    x_low, x_high = _padded([point[0] for point in points])
    y_low, y_high = _padded([point[1] for point in points])
    if upside_down:
        y_low, y_high = y_high, y_low

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - x_low) / (x_high - x_low)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - y_low) / (y_high - y_low)

    parts = [
        *_axis(((across(tick), word) for tick, word in ticks(x_low, x_high)), vertical=False),
        *_axis(((down(tick), word) for tick, word in ticks(min(y_low, y_high), max(y_low, y_high))), vertical=True),
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" fill="none" '
        'stroke="currentColor" stroke-opacity="0.5"/>',
        *(
            f'<circle cx="{across(a):.1f}" cy="{down(b):.1f}" r="2" fill="#1f77b4" fill-opacity="0.6"/>'
            for a, b in points
        ),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"),
        _text(14, (TOP + HEIGHT - BOTTOM) / 2, y_label, "middle", turned=True),
    ]
    title = escape(f"{y_label} over {x_label}, {len(points)} points")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">'
    return "\n".join([head, f"<title>{title}</title>", *parts, "</svg>"]), len(points)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """Return a range with a margin; one that is not empty."""
    low, high = min(values), max(values)
    margin = high / 2 - low / 2
    if margin <= 0:
        margin = abs(low) * 0.05 or 0.5
    return low - margin * 0.08, high + margin * 0.08


def ticks(low: float, high: float) -> Iterator[tuple[float, str]]:
    """Yield round values in a range, with their texts."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return
    raw = (high - low) / MAX_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    if not (math.isfinite(step) and step > 0) or low + step == low:
        return
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = number * step
        yield value, f"{value:.10g}" if abs(value) < 1e7 else f"{value:.4g}"


def _axis(places: Iterator[tuple[float, str]], *, vertical: bool) -> Iterator[str]:
    for place, word in places:
        if vertical:
            yield f'<path d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity="0.15"/>'
            yield _text(LEFT - 8, place + 4, word, "end")
        else:
            yield f'<path d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="currentColor" stroke-opacity="0.15"/>'
            yield _text(place, HEIGHT - BOTTOM + 18, word, "middle")


def _text(x: float, y: float, words: str, anchor: str, *, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.0f} {y:.0f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="currentColor"{turn}>'
        f"{escape(words)}</text>"
    )
