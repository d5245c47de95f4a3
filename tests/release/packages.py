"""The packages that the service's wheel needs, as files: downloaded once, pinned, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.server import ROOT
from tests.tiers import lacking

LOCK = ROOT / "requirements" / "runtime.txt"
DOWNLOAD_SECONDS = 900


def folder() -> Path:
    """Return the folder of the packages.

    Other pins have another.
    """
    cache = os.environ.get("UWS_RELEASE_CACHE") or Path.home() / ".cache" / "uws-service" / "release"
    return Path(cache) / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def require_packages() -> Path:
    """Return the folder.

    Skip the test where nothing was downloaded.
    """
    if not (folder() / ".complete").exists():
        lacking("the packages that a wheel needs were not downloaded: python -m tests.release does that")
    return folder()


def download() -> Path:
    """Download what the wheel and its extra `apps` need, unless it is there."""
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            pins = re.findall(r"^([A-Za-z0-9._-]+(?:\[[^\]]*\])?==[^\\]+)", LOCK.read_text(), re.MULTILINE)
            (target / "pins.txt").write_text("\n".join(pins) + "\n")
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
            words = ["--no-build-isolation", "--only-binary", ":all:", "--no-deps", "-r", str(target / "pins.txt")]
            subprocess.run([*pip, *words, "-d", str(target)], check=True, timeout=DOWNLOAD_SECONDS)
            (target / ".complete").touch()
    return target
