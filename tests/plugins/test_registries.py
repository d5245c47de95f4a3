"""Code that serves all kinds of site and all faces knows none of them by name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.server import ROOT

PACKAGE = ROOT / "uws_service"
PATTERNS = (
    re.compile(r"\bprotocol\s*(==|!=)"),
    re.compile(r"\bstandard\.name\s*(==|!=)"),
    re.compile(r"isinstance\(.*\b(LocalSite|KubernetesSite)\b"),
    re.compile(r"\bkind\s*(==|!=)\s*[\"'](local|kubernetes)[\"']"),
)


def hits(text: str) -> Iterator[str]:
    """Yield each line that decides by the name of a kind or of a standard."""
    for line in text.splitlines():
        if any(pattern.search(line) for pattern in PATTERNS):
            yield line.strip()


def test_no_code_decides_by_a_name() -> None:
    lines_by_file = {
        str(path.relative_to(ROOT)): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := list(hits(path.read_text(encoding="utf-8"))))
    }
    assert lines_by_file == {}


@pytest.mark.parametrize(
    "line",
    [
        'if application.protocol == "tap":',
        'if application.standard.name != "soda":',
        "if isinstance(site, LocalSite):",
        "assert isinstance(self.site, (int, KubernetesSite))",
        'if site.kind == "local":',
    ],
)
def test_such_code_is_noticed(line: str) -> None:
    assert list(hits(line)) == [line]
