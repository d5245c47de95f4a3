"""`sites check` for a site whose runner calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.runner.programs import SITE, Far, Program, until
from tests.server import ROOT
from uws_service.cli.common import EXIT_FAILURE
from uws_service.cli.site_trial import try_site
from uws_service.runner.settings import RunnerSettings
from uws_service.settings import Settings
from uws_service.sites.kind import Finding


def sites(far: Far, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `uws-service sites` with the service's own settings and database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    environment |= {"PYTHONPATH": str(ROOT), **far.server.settings}
    return subprocess.run(
        [sys.executable, "-m", "uws_service", "sites", *words, "--config", "service.yaml"],
        cwd=far.server.folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def finding(far: Far) -> Finding:
    """Return what is said of the runner."""
    settings = Settings.load(far.server.folder / "service.yaml", data=Path(far.server.settings["UWS_DATA"]))
    findings = asyncio.run(try_site(settings, SITE, ""))
    return next(entry for entry in findings if entry.thing == "its runner")


def test_runner_that_calls_or_not(tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    far = Far(tmp_path, Program(tmp_path / "program"))
    try:
        far.server.start()
        ended = sites(far, "check", SITE)
        assert ended.returncode == EXIT_FAILURE and "wrong  its runner: it has not called yet" in ended.stdout
        far.runner.start()
        until(lambda: not finding(far).problem, "the runner")
        assert finding(far).remark.startswith("calls from ")
        far.runner.kill()
        until(lambda: "has not called for" in finding(far).problem, "the end of its lease")
    finally:
        far.close()


def test_rights_are_a_runner_s_file(tmp_path: Path) -> None:
    """What is printed is taken by the runner itself."""
    (tmp_path / "program").mkdir()
    far = Far(tmp_path, Program(tmp_path / "program"))
    far.server.folder.mkdir()
    (far.server.folder / "service.yaml").write_text(far.server.config.replace("PORT", "1"))
    printed = sites(far, "rights", SITE)
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "runner.yaml").write_text(printed.stdout)
    assert yaml.safe_load(printed.stdout)["site"] == SITE
    assert RunnerSettings.load(tmp_path / "runner.yaml").local.kind == "local"
    far.wire.close()
