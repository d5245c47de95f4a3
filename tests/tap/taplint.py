"""STILTS' suite for TAP services, and what it may say of ours (docs/explanation/tap.md argues it)."""

from __future__ import annotations

import subprocess

from tests.tiers import require

FAILURES = {"F-LOC-NOTP"}
WARNINGS = {"W-CAP-SVR0", "W-UWS-UNSC"}


def check(url: str, *, failures: frozenset[str] = frozenset(), warnings: frozenset[str] = frozenset()) -> None:
    """Every stage: no error, and nothing but what is known else."""
    require("stilts")
    done = subprocess.run(
        ["stilts", "taplint", f"tapurl={url}", "maxrepeat=20"], capture_output=True, text=True, timeout=600
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("Totals: Errors: 0;") for line in lines), done.stdout + done.stderr
    assert {line[:10] for line in lines if line.startswith("F-")} <= FAILURES | failures, done.stdout
    told = [line for line in lines if line.startswith("W-") and line[:10] not in WARNINGS | warnings]
    assert not told, told
