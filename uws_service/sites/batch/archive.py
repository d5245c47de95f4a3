"""The agent as one file that the Python of any node can run.

A zipapp (``python3 -I agent.pyz``) of `uws_service.agent`, which needs nothing but the standard library.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

from uws_service import agent

NAME = "agent.pyz"
"""What the file is called in a batch job's folder."""
_MAIN = b"""\
import sys

from uws_service.agent.batch import main

sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


@cache
def agent_archive() -> bytes:
    """Return the zipapp.

    The same bytes for the same version of the agent.
    """
    folder = Path(agent.__file__).parent
    files = {"__main__.py": _MAIN, "uws_service/__init__.py": b""}
    files |= {f"uws_service/agent/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return target.getvalue()
