"""STILTS' suite for TAP services.

docs/explanation/tap.md argues what it may say of ours.
"""

from __future__ import annotations

import subprocess

from tests.tiers import require

FAILURES = {"F-LOC-NOTP"}
WARNINGS = {"W-CAP-SVR0", "W-UWS-UNSC"}


def check(url: str, *, failures: frozenset[str] = frozenset(), warnings: frozenset[str] = frozenset()) -> None:
    """Run every stage; allow only the listed complaints."""
    require("stilts")
    completed = subprocess.run(
        ["stilts", "taplint", f"tapurl={url}", "maxrepeat=20"], capture_output=True, text=True, timeout=600
    )
    lines = completed.stdout.splitlines()
    assert any(line.startswith("Totals: Errors: 0;") for line in lines), completed.stdout + completed.stderr
    assert {line[:10] for line in lines if line.startswith("F-")} <= FAILURES | failures, completed.stdout
    unexpected = [line for line in lines if line.startswith("W-") and line[:10] not in WARNINGS | warnings]
    assert not unexpected, unexpected
