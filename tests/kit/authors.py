"""An author.

A folder with an application, and the command line.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.server import ROOT

DESCRIPTOR = """\
name: thing
title: A thing
description: Does things.
command: {command}
parameters:
  - {{name: N, datatype: int, minimum: 0}}
  - {{name: LOUD, datatype: boolean}}
  - {{name: TABLE, file: true, endings: [.csv, .csv.gz]}}
results:
{results}
"""


class Author:
    """Writes an application into a folder, and runs ``uws-service app``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def app(self, *words: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a command of the kit."""
        return subprocess.run(
            [sys.executable, "-m", "uws_service", "app", *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def json(self, *words: str) -> Any:
        """Run a command of the kit with ``--json``."""
        return json.loads(self.app(*words, "--json").stdout)

    def describe(
        self, command: list[str], results: str = "  - {id: result, path: out.txt, media_type: text/plain}"
    ) -> str:
        """Write a descriptor; its file's name."""
        text = DESCRIPTOR.format(command=json.dumps(command), results=results)
        (self.folder / "thing.yaml").write_text(text)
        return "thing.yaml"

    def program(self, text: str, name: str = "thing") -> None:
        """Write a program into the folder ``bin``."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
