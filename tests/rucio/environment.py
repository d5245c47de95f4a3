"""The virtual environment of Rucio, built once and kept.

Rucio pins packages that the service has in other versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tiers import lacking

LOCK = Path(__file__).with_name("requirements.txt")
BUILD_SECONDS = 900


def folder() -> Path:
    """Return the environment's folder; another lock file has another."""
    cache = os.environ.get("UWS_RUCIO_CACHE") or Path.home() / ".cache" / "uws-service" / "rucio"
    return Path(cache) / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def python() -> Path:
    """Return the environment's interpreter."""
    return folder() / "bin" / "python"


def require_rucio() -> Path:
    """Return the interpreter; skip the test where the environment was not built."""
    if not (folder() / ".complete").exists():
        lacking("Rucio is not installed: python -m tests.rucio builds its environment")
    return python()


def build() -> Path:
    """Build the environment unless it is there."""
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", target], check=True, timeout=BUILD_SECONDS)
            pip: list[str | Path] = [python(), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", "--require-hashes", "-r", LOCK], check=True, timeout=BUILD_SECONDS)
            (target / ".complete").touch()
    return target
