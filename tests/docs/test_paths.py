"""Files and folders that the documentation names exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BASES = (ROOT, ROOT / "uws_service", ROOT / "docs")
NOT_IN_THE_TREE = ("build",)
"""Folders that commands make."""
PATH = re.compile(r"`([A-Za-z_][\w.-]*(?:/[\w.*-]+)*/[\w.*-]*)`")


def missing_paths(text: str) -> Iterator[str]:
    """Yield each path in backticks whose first folder is one of the project's, and that is nowhere below it."""
    for path in PATH.findall(text):
        first = path.split("/")[0]
        bases = [base for base in BASES if (base / first).is_dir()]
        if bases and first not in NOT_IN_THE_TREE and not any(any(base.glob(path.rstrip("/"))) for base in bases):
            yield path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_paths_exist(page: Path) -> None:
    assert list(missing_paths(page.read_text(encoding="utf-8"))) == []


def test_a_missing_path_is_noticed() -> None:
    text = "`uws_service/nowhere.py` `domain/job.py` `web/faces/` `sites/gone/` `text/html` `tests/*.py`"
    assert list(missing_paths(text)) == ["uws_service/nowhere.py", "sites/gone/"]
