"""The sample catalogue that a service publishes at its first start, made once for all services of a test run.

Making it is most of what is left of a warm start; cold ones make it themselves.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FOLDER = "catalogues"
"""Its place in the data folder."""


@cache
def sample() -> Path:
    """Return a folder with the tables."""
    folder = Path(tempfile.mkdtemp(prefix="uws-sample-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "uws_service.tap.tables_source", str(folder / FOLDER)], check=True)
    return folder / FOLDER


def put_into(data: Path) -> None:
    """Copy the tables into a data folder that has none."""
    if not (data / FOLDER).exists():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(sample(), data / FOLDER)
