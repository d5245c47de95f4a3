"""Static programs from one C file each, kept in the cache by what they are made of."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.rig.errors import ClusterError, Unable
from tests.rig.paths import cache_folder, locked


def static_program(source: Path) -> Path:
    """Return the program of a C file, built if it isn't in the cache."""
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = cache_folder() / f"{source.stem}-{key}"
    with locked(cache_folder() / f"{source.stem}.lock"):
        if not program.exists():
            compiler = shutil.which("cc") or shutil.which("gcc")
            if compiler is None:
                raise Unable("no C compiler: Debian has one in the packages gcc and libc6-dev")
            work = program.with_suffix(".new")
            command = [compiler, "-Os", "-static", "-s", "-o", str(work), str(source)]
            completed = subprocess.run(command, capture_output=True, text=True)
            if completed.returncode != 0:
                raise ClusterError(f"{source.name} could not be compiled: {completed.stderr}")
            work.rename(program)
    return program
