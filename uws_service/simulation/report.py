"""What a simulation says to people: one row for each policy."""

from __future__ import annotations

from collections.abc import Sequence

from uws_service.placement.wording import in_bytes
from uws_service.simulation.figures import Figures

HEADINGS = ("policy", "moved", "× bound", "wait p50", "wait p95", "× best", "makespan", "used", "Jain")


def rows(figures: Sequence[Figures]) -> list[tuple[str, ...]]:
    """Return the cells of the table.

    Bytes stand beside those of the oracle, 95 % waits beside the best of the real policies.
    """
    oracle = next((item for item in figures if item.policy == "oracle"), None)
    real = [item.wait_p95 for item in figures if item.policy != "oracle"]
    best = min(real, default=0.0)
    return [
        (
            item.policy,
            in_bytes(item.moved_bytes),
            _ratio(item.moved_bytes, oracle.moved_bytes) if oracle is not None else "–",
            in_duration(item.wait_p50),
            in_duration(item.wait_p95),
            _ratio(item.wait_p95, best) if item.policy != "oracle" else "–",
            in_duration(item.makespan),
            f"{100 * item.used:.0f} %",
            "–" if item.jain is None else f"{item.jain:.3f}",
        )
        for item in figures
    ]


def markdown(figures: Sequence[Figures]) -> str:
    """Return the table in Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows(figures)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def in_duration(seconds: float) -> str:
    """Return a duration to three digits."""
    for unit, length, limit in (("s", 1, 100), ("min", 60, 6000), ("h", 3600, 360_000)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def _ratio(value: float, least: float) -> str:
    if not least:
        return "1.00" if not value else "∞"
    ratio = value / least
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"
