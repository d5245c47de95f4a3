"""The checks against the mutants.

Run as a script, this module tries all of them and writes the pages of the documentation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mutants import MUTANTS, Mutant, build
from reference_http import serve
from uws_conformance.bench import Bench
from uws_conformance.http import Client, Identity, Limits
from uws_conformance.outcomes import Outcome
from uws_conformance.profile import parse
from uws_conformance.registry import all_checks
from uws_conformance.runner import Report, run

FOLDER = Path(__file__).resolve().parent
MATRIX_PAGE = FOLDER.parents[1] / "docs" / "reference" / "conformance-matrix.md"
RULES_PAGE = MATRIX_PAGE.with_name("conformance-rules.md")
PROFILE = parse(
    {
        "short": {"MODE": "short"}, "long": {"MODE": "long"}, "failing": {"MODE": "failing"},
        "upload": {"MODE": "short", "FILE": "param:{part}"}, "parameter": {"NOTE": "x"},
        "sync": True, "patience": 1.5, "poll": 0.03, "wait": 1,
    },
    "reference",
)  # fmt: skip


FACES = {
    "uws": PROFILE,
    "tap": replace(
        PROFILE,
        name="tap",
        chapters=("TAP 1.1",),
        short=(("LANG", "ADQL"), ("QUERY", "SELECT TOP 1 schema_name FROM TAP_SCHEMA.schemas")),
        failing=(("LANG", "ADQL"), ("QUERY", "SELECT x FROM nowhere")),
    ),
    "soda": replace(
        PROFILE,
        name="soda",
        chapters=("SODA 1.0",),
        soda={
            "ID": ("ivo://example/data",),
            "CIRCLE": ("10 10 0.1", "10 10.1 0.2"),
            "OUTSIDE": ("190 -10 0.1",),
            **dict.fromkeys(("POLYGON", "POS", "BAND", "TIME", "POL"), ("1 2 3",)),
        },
    ),
}


def run_checks(mutant: Mutant | None, check_ids: Collection[str] | None = None, face: str = "uws") -> Report:
    """Run the checks on a mutant or the correct server."""
    face = mutant.face if mutant else face
    reference = build(mutant, face)
    with serve(reference) as url:
        client = Client(Limits(timeout=10), Identity("alice", {"Authorization": "Bearer alice"}))
        try:
            bench = Bench(url, FACES[face], client, Identity("bob", {"Authorization": "Bearer bob"}), max_jobs=80)
            return run(bench, [check for check in all_checks() if check_ids is None or check.id in check_ids])
        finally:
            client.close()


def broken(report: Report) -> list[str]:
    """Return the ids of the checks that broke."""
    return [result.id for result in report.results if result.outcome in (Outcome.FAIL, Outcome.WARN)]


def broken_by(name: str) -> list[str]:
    """Return the checks that a mutant breaks."""
    return broken(run_checks(next(mutant for mutant in MUTANTS if mutant.name == name)))


def broken_by_each(names: list[str]) -> dict[str, list[str]]:
    """Try several mutants at once; they mostly wait."""
    with ThreadPoolExecutor(12) as pool:
        return dict(zip(names, pool.map(broken_by, names), strict=True))


def matrix() -> dict[str, list[str]]:
    """Map each mutant to the checks that it breaks.

    It takes several processes, since Python runs one thread at a time.
    """
    names = [mutant.name for mutant in MUTANTS]
    with ProcessPoolExecutor(4) as pool:
        parts = pool.map(broken_by_each, [names[start::4] for start in range(4)])
        checks_by_mutant = {name: checks for part in parts for name, checks in part.items()}
    return {name: checks_by_mutant[name] for name in names}


def page(checks_by_mutant: dict[str, list[str]]) -> str:
    """Return the page of checks and their mutants."""
    killers: dict[str, list[str]] = {check.id: [] for check in all_checks()}
    for mutant, checks in checks_by_mutant.items():
        for key in checks:
            killers[key].append(mutant)
    pairs = sum(map(len, checks_by_mutant.values()))
    lines = [
        "# Checks and mutants", "",
        "<!-- Written by `make conformance-matrix`; do not edit. -->", "",
        "A correct reference server passes every check. A mutant is that server with one deliberate fault.",
        "For each check the table names the mutants that break it, at most three, the most specific first.", "",
        f"{len(killers)} checks, {len(checks_by_mutant)} mutants, {pairs} pairs.", "",
        "| check | level | mutants |", "| --- | --- | --- |",
    ]  # fmt: skip
    for check in all_checks():
        most_specific = sorted(killers[check.id], key=lambda name: (len(checks_by_mutant[name]), name))
        lines.append(f"| `{check.id}` | {check.level} | {', '.join(most_specific[:3])} |")
    return "\n".join(lines) + "\n"


def recorded() -> dict[str, str]:
    """Return the first mutant of each check on the page."""
    rows = [line.split("|") for line in MATRIX_PAGE.read_text().splitlines() if line.startswith("| `")]
    return {row[1].strip().strip("`"): row[3].split(",")[0].strip() for row in rows}


@dataclass(frozen=True)
class Rule:
    """A line of ``rules.txt``.

    The reason is given for rules without a check of their own.
    """

    id: str
    level: str
    asks: str
    reason: str


def rules() -> list[Rule]:
    """Return the rules of the standards in order."""
    rule_list = []
    for line in (FOLDER / "rules.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            head, _, reason = line.partition(" :: ")
            identifier, level, asks = head.split(None, 2)
            rule_list.append(Rule(identifier, level, asks, reason.strip()))
    return rule_list


def rules_page() -> str:
    """Return the page of rules and their checks.

    A rule without a check has its reason instead.
    """
    checks: dict[str, list[str]] = {}
    for check in all_checks():
        checks.setdefault(check.rule, []).append(check.id.partition(".")[2])
    lines = [
        "# Rules and checks", "",
        "<!-- Written by `make conformance-matrix`; do not edit. -->", "",
        "Every rule of UWS 1.1, DALI 1.1, VOSI 1.1, SODA 1.0, single sign-on and the jobs of TAP 1.1.",
        "\"As U-120\" means that the checks of that rule see it too.",
        "A text in italics says why nobody can see it over HTTP.", "",
        "| rule | level | what is asked | checks |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for rule in rules():
        if rule.reason.startswith("= "):
            checks_cell = "as " + ", ".join(rule.reason[2:].split())
        else:
            checks_cell = ", ".join(f"`{name}`" for name in checks.get(rule.id, [])) or f"*{rule.reason}*"
        lines.append(f"| {rule.id} | {rule.level} | {rule.asks.replace('|', ' ')} | {checks_cell} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run everything and write the pages.

    The exit status is 1 if a check survives all mutants or a mutant goes unnoticed.
    """
    start = time.monotonic()
    broken_on_correct = [key for face in FACES for key in broken(run_checks(None, face=face))]
    checks_by_mutant = matrix()
    unnoticed = [name for name, checks in checks_by_mutant.items() if not checks]
    unbroken = sorted(
        {check.id for check in all_checks()} - {key for checks in checks_by_mutant.values() for key in checks}
    )
    print(f"{len(all_checks())} checks, {len(checks_by_mutant)} mutants, {time.monotonic() - start:.0f} s")
    print("broken on the correct server:", broken_on_correct)
    print("mutants that no check sees:", unnoticed)
    print("checks that no mutant breaks:", unbroken)
    MATRIX_PAGE.write_text(page(checks_by_mutant))
    RULES_PAGE.write_text(rules_page())
    return int(bool(broken_on_correct or unnoticed or unbroken))


if __name__ == "__main__":
    sys.exit(main())
