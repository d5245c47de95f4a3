"""The virtual environment of the judges.

They are ``rocrate-validator``, ``prov`` and ``voprov``; the last works with an old ``prov`` alone.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.environments import of_tests

JUDGES = of_tests("judges", "The judges of provenance are")
JUDGE_SECONDS = 300


def judgement(action: str, *words: str) -> dict[str, Any]:
    """Return what a judge says; see ``judge.py``."""
    command: list[str | Path] = [JUDGES.require(), Path(__file__).with_name("judge.py"), action, *words]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=JUDGE_SECONDS)
    judged: dict[str, Any] = json.loads(answer.stdout)
    return judged
