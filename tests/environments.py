"""Virtual environments of programs that tests and recipes need beside the service, each built once and kept.

They pin packages that the service has in other versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.tiers import lacking

BUILD_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment below the user's cache.

    Parameters
    ----------
    name
        The folder of the cache, and what ``UWS_{NAME}_CACHE`` is named after, which puts it elsewhere.
    lock
        The file that pins its packages.
    content
        What is in it, with its verb: the reason for which a test is skipped begins so.
    command
        What builds it.
    """

    name: str
    lock: Path
    content: str
    command: str

    @property
    def folder(self) -> Path:
        """Return its folder; another lock file has another."""
        variable = f"UWS_{self.name.upper()}_CACHE"
        cache = os.environ.get(variable) or Path.home() / ".cache" / "uws-service" / self.name
        return Path(cache) / hashlib.sha256(self.lock.read_bytes()).hexdigest()[:16]

    @property
    def is_built(self) -> bool:
        """Return whether all of it is there."""
        return (self.folder / ".complete").exists()

    def require(self, program: str = "python") -> Path:
        """Return one of its programs.

        Skip the test where it was not built.
        """
        if not self.is_built:
            lacking(f"{self.content} not installed: {self.command} builds the environment")
        return self.folder / "bin" / program

    def build(self) -> Path:
        """Build it unless it is there.

        Return its folder.
        """
        target = self.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / "lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if not self.is_built:
                shutil.rmtree(target, ignore_errors=True)
                subprocess.run([sys.executable, "-m", "venv", target], check=True, timeout=BUILD_SECONDS)
                pip = [str(target / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
                words = ["install", "--require-hashes", "-r", str(self.lock)]
                subprocess.run([*pip, *words], check=True, timeout=BUILD_SECONDS)
                (target / ".complete").touch()
        return target


def of_tests(name: str, content: str) -> Environment:
    """Return the environment that the module ``tests.{name}`` builds, by the pins beside it."""
    lock = Path(__file__).with_name(name) / "requirements.txt"
    return Environment(name, lock, content, f"python -m tests.{name}")
