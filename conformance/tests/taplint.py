"""STILTS' taplint beside our checks: what it finds where both look at the same thing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Mapping

from tests.tiers import require

STAGES = "TME CPV CAP AVV UWS"
LINE = re.compile(r"^([EF]-\w{3}-\w{4})", re.MULTILINE)

# What taplint calls it -> the beginnings of the names of our checks that see the same; code and checks come together.
# Codes of documents that are not valid are made from the message, so only their stage counts.
SAME: Mapping[str, tuple[str, ...]] = {
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


def found(tap_url: str, stages: str = STAGES) -> set[str]:
    """The codes of errors that taplint reports."""
    command = [require("stilts"), "taplint", f"tapurl={tap_url}", f"stages={stages}", "report=EF", "maxrepeat=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "Totals: " in done.stdout, done.stdout + done.stderr
    return set(LINE.findall(done.stdout))


def disagreements(codes: Collection[str], broken: Collection[str]) -> list[str]:
    """What only one of the two says; ``broken`` are the ids of our checks that found something."""
    told = []
    for code, checks in SAME.items():
        theirs = sorted(one for one in codes if one.startswith(code))
        ours = sorted(one for one in broken if one.startswith(checks))
        if bool(theirs) != bool(ours):
            told.append(f"{code}: taplint says {theirs or 'nothing'}, the checks break {ours or 'none'}")
    return told
