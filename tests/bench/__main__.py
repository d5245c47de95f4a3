"""``make bench``: figures as ratios within one run, as a table and as ``build/bench.json``.

Nothing is asserted: machines differ and are noisy. Each line says what was measured, how, and against what target.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Figure:
    """One measured value.

    ``target`` is a bound in the same unit, ``met`` says whether it holds.
    """

    name: str
    value: float
    unit: str
    target: float | None
    verdict: bool | None
    description: str

    @staticmethod
    def least(name: str, value: float, target: float, description: str, unit: str = "ratio") -> Figure:
        """Return a figure with a lower bound."""
        return Figure(name, round(value, 3), unit, target, value >= target, description)

    @staticmethod
    def most(name: str, value: float, target: float, description: str, unit: str = "ratio") -> Figure:
        """Return a figure with an upper bound."""
        return Figure(name, round(value, 3), unit, target, value <= target, description)

    @staticmethod
    def plain(name: str, value: float, description: str, unit: str) -> Figure:
        """Return a figure without a target."""
        return Figure(name, round(value, 3), unit, None, None, description)


Scenario = Callable[[Path], Awaitable[list[Figure]]]


def scenarios() -> dict[str, Scenario]:
    """Return the measurements by name, in order."""
    from tests.bench import accounting, auth, data, http, latency, listing, placement, site, start, streams, waiters

    return {
        "http": http.measure,
        "auth": auth.measure,
        "list": listing.measure,
        "wait": waiters.measure,
        "streams": streams.measure,
        "site": site.measure,
        "latency": latency.measure,
        "start": start.measure,
        "placement": placement.measure,
        "data": data.measure,
        "accounting": accounting.measure,
    }


def show(figures: list[Figure]) -> None:
    """Print the table for a person."""
    table = Table("what", "value", "unit", "target", "met", "description")
    for figure in figures:
        verdict = "" if figure.verdict is None else "yes" if figure.verdict else "NO"
        target = "" if figure.target is None else f"{figure.target:g}"
        table.add_row(figure.name, f"{figure.value:g}", figure.unit, target, verdict, figure.description)
    Console(width=180).print(table)


async def run(names: list[str]) -> list[Figure]:
    """Run scenarios, each in a fresh folder."""
    figures: list[Figure] = []
    selection = scenarios()
    if "cluster" in names:  # not among those that are made without being named: it needs a cluster
        from tests.bench import cluster

        selection["cluster"] = cluster.measure
    if "tap" in names:
        from tests.bench import tap

        selection["tap"] = tap.measure
    if "pages" in names:
        from tests.bench import pages

        selection["pages"] = pages.measure
    if "day" in names:  # hours
        from tests.bench import day

        selection["day"] = day.measure
    if "sites" in names:
        from tests.bench import pool

        selection["sites"] = pool.measure
    for name, measure in selection.items():
        if names and name not in names:
            continue
        print(f"measuring {name} …", flush=True)
        with tempfile.TemporaryDirectory(prefix="uws-bench-") as folder:
            figures += await measure(Path(folder))
    return figures


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"only these: {', '.join(scenarios())}; or cluster (root, Go), tap, sites (root), pages, day",
    )
    names = parser.parse_args().names
    by_name = ["cluster", "tap", "sites", "pages", "day"]
    possible = [*scenarios(), *by_name]
    if unknown := set(names) - set(possible):
        parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(possible)}")
    figures = asyncio.run(run(names))
    show(figures)
    target = ROOT / "build" / (f"bench-{names[0]}.json" if len(names) == 1 and names[0] in by_name else "bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    print(f"written: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
