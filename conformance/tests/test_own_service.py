"""The service of this project, started as its operators do: nothing broken, nothing warned about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from uws_conformance.cli import main

from tests.server import Server


def test_no_fail_and_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(tmp_path / "service")
    server.start()
    files = {name: tmp_path / f"report.{name}" for name in ("json", "junit", "html", "badge")}
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    try:
        status = main([f"{server.url}/sleep/async", "--profile", "uws-service", "--strict", "--quiet", *options])
    finally:
        server.stop()
    shown = capsys.readouterr().out
    assert status == 0, shown
    results = json.loads(files["json"].read_text())
    assert sum(one["outcome"] == "pass" for one in results) > 200, shown
    assert "could not be deleted" not in shown
    assert files["html"].read_text().startswith("<!doctype html>")
    assert "<testcase" in files["junit"].read_text() and "<svg" in files["badge"].read_text()
