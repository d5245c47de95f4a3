"""Proof that every check can fail.

The correct server breaks none, and the mutant that the page names breaks each.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import matrix
import pytest
from mutants import MUTANTS
from uws_conformance.outcomes import Outcome
from uws_conformance.registry import all_checks


def test_correct_server_breaks_nothing() -> None:
    report = matrix.run_checks(None)
    assert matrix.broken(report) == []
    assert report.undeleted == ()
    assert report.count(Outcome.PASS) > 200


@pytest.mark.parametrize("face", ["tap", "soda"])
def test_correct_tap_and_soda_services_break_nothing(face: str) -> None:
    report = matrix.run_checks(None, face=face)
    assert report.results and report.count(Outcome.PASS) == len(report.results), matrix.broken(report)


def test_every_check_is_killed_by_the_mutant_of_the_page() -> None:
    recorded = {check: mutant for check, mutant in matrix.recorded().items() if mutant}
    assert set(recorded) == {check.id for check in all_checks()}, "run `make conformance-matrix`"
    mutants = {mutant.name: mutant for mutant in MUTANTS}
    checks_by_mutant: dict[str, list[str]] = {}
    for check, mutant in recorded.items():
        checks_by_mutant.setdefault(mutant, []).append(check)
    with ThreadPoolExecutor(8) as pool:
        reports = pool.map(lambda name: matrix.run_checks(mutants[name], checks_by_mutant[name]), checks_by_mutant)
    unbroken = {
        check: name
        for name, report in zip(checks_by_mutant, reports, strict=True)
        for check in set(checks_by_mutant[name]) - set(matrix.broken(report))
    }
    # Some checks need jobs that other checks create, so run all checks on these mutants.
    unbroken = {
        check: name for check, name in unbroken.items() if check not in matrix.broken(matrix.run_checks(mutants[name]))
    }
    assert unbroken == {}
    assert len(checks_by_mutant) >= 60 and len(MUTANTS) >= 100
