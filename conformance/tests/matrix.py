"""Checks against mutants: run as a script it tries all and writes the page of the documentation."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from mutants import MUTANTS, Mutant, build
from reference import serving
from uws_conformance.bench import Bench
from uws_conformance.http import Client, Identity, Limits
from uws_conformance.outcomes import Outcome
from uws_conformance.profile import parse
from uws_conformance.registry import all_checks
from uws_conformance.runner import Report, run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "conformance-matrix.md"
# Checks that no mutant breaks so far: when the job is not there at all, they are skipped.
ALIVE = {"C-04.never-held", "U-003.failed-answers", "U-120.location-is-job"}
PROFILE = parse(
    {
        "short": {"MODE": "short"}, "long": {"MODE": "long"}, "failing": {"MODE": "failing"},
        "parameter": {"NOTE": "x"}, "sync": True, "patience": 1.5, "poll": 0.03, "wait": 1,
    },
    "reference",
)  # fmt: skip


def look(mutant: Mutant | None, only: Collection[str] | None = None) -> Report:
    """Run the checks on a mutant, or on the correct server."""
    reference = build(mutant)
    with serving(reference) as url:
        client = Client(Limits(timeout=10), Identity("alice", {"Authorization": "Bearer alice"}))
        try:
            bench = Bench(url, PROFILE, client, Identity("bob", {"Authorization": "Bearer bob"}), max_jobs=80)
            return run(bench, [check for check in all_checks() if only is None or check.id in only])
        finally:
            client.close()


def broken(report: Report) -> list[str]:
    return [one.id for one in report.results if one.outcome in (Outcome.FAIL, Outcome.WARN)]


def broken_by(name: str) -> list[str]:
    """The checks that break on a mutant."""
    return broken(look(next(one for one in MUTANTS if one.name == name)))


def part(names: list[str]) -> dict[str, list[str]]:
    """Some mutants at once; they mostly wait."""
    with ThreadPoolExecutor(12) as pool:
        return dict(zip(names, pool.map(broken_by, names), strict=True))


def matrix() -> dict[str, list[str]]:
    """For each mutant the checks that it breaks; in several processes, since Python runs one thread at a time."""
    names = [one.name for one in MUTANTS]
    with ProcessPoolExecutor(4) as pool:
        parts = pool.map(part, [names[start::4] for start in range(4)])
        found = {name: checks for one in parts for name, checks in one.items()}
    return {name: found[name] for name in names}


def page(found: dict[str, list[str]]) -> str:
    """The table of the documentation: each check with the mutants that it tells from the correct server."""
    killers: dict[str, list[str]] = {check.id: [] for check in all_checks()}
    for mutant, checks in found.items():
        for key in checks:
            killers[key].append(mutant)
    lines = [
        "# Checks and mutants", "",
        "<!-- Written by `make conformance-matrix`; do not edit. -->", "",
        "A correct reference server passes every check. A mutant is that server with one deliberate fault.",
        "For each check the table names the mutants that break it, at most three, the most specific first.", "",
        f"{len(killers)} checks, {len(found)} mutants, {sum(map(len, found.values()))} pairs.", "",
        "| check | level | mutants |", "| --- | --- | --- |",
    ]  # fmt: skip
    for check in all_checks():
        best = sorted(killers[check.id], key=lambda name: (len(found[name]), name))
        lines.append(f"| `{check.id}` | {check.level} | {', '.join(best[:3])} |")
    return "\n".join(lines) + "\n"


def recorded() -> dict[str, str]:
    """The first mutant of each check in the page."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[1].strip().strip("`"): row[3].split(",")[0].strip() for row in rows}


def main() -> int:
    """Run everything; exit status 1 if a check survives or a mutant is not seen."""
    started = time.monotonic()
    correct = broken(look(None))
    found = matrix()
    unseen = [name for name, checks in found.items() if not checks]
    alive = sorted({check.id for check in all_checks()} - {key for checks in found.values() for key in checks})
    print(f"{len(all_checks())} checks, {len(found)} mutants, {time.monotonic() - started:.0f} s")
    print("broken on the correct server:", correct)
    print("mutants that no check sees:", unseen)
    print("checks that no mutant breaks:", alive)
    PAGE.write_text(page(found))
    return int(bool(correct or unseen or set(alive) != ALIVE))


if __name__ == "__main__":
    sys.exit(main())
