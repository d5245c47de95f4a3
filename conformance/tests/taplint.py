"""STILTS' taplint beside the checks of this suite."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Mapping

from tests.tiers import require

STAGES = "TME CPV CAP AVV UWS"
LINE = re.compile(r"^([EF]-\w{3}-\w{4})", re.MULTILINE)

# taplint code -> prefixes of the checks that find the same fault; either both report it or neither does.
# Codes of invalid documents are derived from the message, so only their stage is listed.
CHECKS_BY_CODE: Mapping[str, tuple[str, ...]] = {
    "E-UWS-NFND": ("U-022", "U-025.phase-answers", "U-028.executionduration-answers", "U-030", "U-033"),
    "E-UWS-GMIM": ("U-004.job-type", "U-004.phase-type", "U-004.executionduration-type", "U-004.destruction-type"),
    "E-UWS-IFMT": ("U-028",),
    "E-UWS-JDED": ("U-076.executionduration-agrees",),
    "E-UWS-JDDE": ("U-076.destruction-agrees",),
    "E-UWS-JDPH": ("U-076.phase-agrees",),
    "E-UWS-JDID": ("U-009.job-id",),
    "E-UWS-QFAA": ("U-120",),
    "E-UWS-PORE": ("U-010", "U-026", "U-104", "U-131.ACTION-303", "D-011"),
    "E-UWS-RUPH": ("C-04", "U-101", "U-105"),
    "E-UWS-DENO": ("U-130.DELETE-gone",),
    "E-AVV": ("V-020",),
    "E-CAP": ("T-003", "T-004"),
    "E-TME": ("V-030",),
}


def reported_codes(tap_url: str, stages: str = STAGES) -> set[str]:
    """Return the error codes that taplint reports."""
    command = [require("stilts"), "taplint", f"tapurl={tap_url}", f"stages={stages}", "report=EF", "maxrepeat=2"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "Totals: " in process.stdout, process.stdout + process.stderr
    return set(LINE.findall(process.stdout))


def disagreements(codes: Collection[str], broken: Collection[str]) -> list[str]:
    """Return what only one of the two reports.

    ``broken`` are the ids of the checks that broke.
    """
    messages = []
    for code, checks in CHECKS_BY_CODE.items():
        taplint_codes = sorted(code_seen for code_seen in codes if code_seen.startswith(code))
        broken_checks = sorted(check_id for check_id in broken if check_id.startswith(checks))
        if bool(taplint_codes) != bool(broken_checks):
            messages.append(
                f"{code}: taplint says {taplint_codes or 'nothing'}, the checks break {broken_checks or 'none'}"
            )
    return messages
