"""Each line names an existing test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"


def test_every_protection_has_its_test() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What protects what")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 20
    assert len(set(rows)) == len(rows), "a line stands there twice"
    for row in rows:
        references = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert references, f"no test: {row}"
        for file, test in references:
            paths = [
                path for path in (ROOT / "tests").rglob(file) if f"def {test}(" in path.read_text(encoding="utf-8")
            ]
            assert paths, f"{file} has no {test}"
