"""Debian's PostgreSQL 15, which has the sky extensions, with one of them mended.

From 15.20 on the server refuses ``pg_sphere`` 1.1.1 as Debian 12 has it: two operators ``@`` of its script name a
commutator and a negator that are already those of others. Here the script lacks these clauses, which nothing uses.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

VERSION = "15"
PROGRAMS = Path("/usr/lib/postgresql") / VERSION
SHARE = Path("/usr/share/postgresql") / VERSION
SCRIPTS = "pg_sphere--*.sql"
_WRONG = re.compile(
    r"(CREATE OPERATOR @ \(\s*LEFTARG\s*=\s*(?:bigint|spoint),\s*RIGHTARG\s*=\s*smoc,[^;]*?\);)", re.IGNORECASE
)
_CLAUSE = re.compile(r"^\s*(?:COMMUTATOR|NEGATOR)\s*=\s*[^,]*,\s*\n", re.IGNORECASE | re.MULTILINE)


def has_sky_extensions() -> bool:
    """Return whether the packages are there."""
    controls = [SHARE / "extension" / f"{name}.control" for name in ("pg_sphere", "q3c")]
    return (PROGRAMS / "bin" / "initdb").exists() and all(control.exists() for control in controls)


@cache
def programs() -> Path:
    """Return the folder of the programs: of a tree like the package's, since they look for their files beside them."""
    root = Path(tempfile.mkdtemp(prefix="uws-postgresql-15-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    root.chmod(0o755)
    own_programs, own_share = root / PROGRAMS.relative_to("/"), root / SHARE.relative_to("/")
    own_programs.mkdir(parents=True)
    shutil.copytree(PROGRAMS / "bin", own_programs / "bin")
    (own_programs / "lib").symlink_to(PROGRAMS / "lib")
    own_extensions = own_share / "extension"
    own_extensions.mkdir(parents=True)
    for folder, own in ((SHARE, own_share), (SHARE / "extension", own_extensions)):
        for path in folder.iterdir():
            if path.match(SCRIPTS):
                (own / path.name).write_text(mended(path.read_text(encoding="utf-8")), encoding="utf-8")
            elif path.name != "extension":
                (own / path.name).symlink_to(path)
    return own_programs / "bin"


def mended(script: str) -> str:
    """Return the extension's script without the clauses that contradict others."""
    return _WRONG.sub(lambda operator: _CLAUSE.sub("", operator[0]), script)
