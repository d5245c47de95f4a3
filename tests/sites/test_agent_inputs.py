"""What an agent says of the files that it fetched."""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.domain.attempt import Input, Launch, Report
from uws_service.domain.errors import UsageError
from uws_service.domain.record import StagedFile
from uws_service.sites.agent_reports import _staged
from uws_service.store.rows import _report_of, report_text

DIGEST = "ab" * 32
LAUNCH = Launch(
    "j", 1, "a", "", (), "", {}, "{}",
    (Input("FILE", "files/FILE", url="https://h/x"), Input("U", "uploads/U", depot_key="k")), (), 0, 1.0, 1, 1,
)  # fmt: skip
GOOD: dict[str, Any] = {"path": "files/FILE", "size": 3, "sha256": DIGEST}


def test_what_an_agent_may_say() -> None:
    """Of the inputs that it was to fetch, and of no others."""
    assert _staged([], LAUNCH) == ()
    assert _staged([GOOD], LAUNCH) == (StagedFile("files/FILE", 3, DIGEST),)
    assert _staged([GOOD, {**GOOD, "size": 4}], LAUNCH) == (StagedFile("files/FILE", 4, DIGEST),)
    for entries in (
        "x",
        [GOOD] * 3,
        [{**GOOD, "path": "uploads/U"}],
        [{**GOOD, "path": "../x"}],
        [{**GOOD, "sha256": DIGEST.upper()}],
        [{**GOOD, "sha256": "ab"}],
        [{**GOOD, "size": -1}],
        [{**GOOD, "size": 2**63}],
        [{**GOOD, "size": "many"}],
        [{"path": "files/FILE"}],
        [None],
    ):
        with pytest.raises(UsageError, match="inputs"):
            _staged(entries, LAUNCH)


def test_a_report_is_kept_with_them() -> None:
    """It is read again, and so is one of an earlier version, which has none."""
    report = Report(message="x", inputs=(StagedFile("files/FILE", 3, DIGEST),))
    assert _report_of(report_text(report)) == report
    assert report_text(Report(message="x")) == '[[],[],null,"x",0]'
    assert _report_of('[[],[],null,"x",0]') == Report(message="x")
