"""The files that a new application begins with."""

from __future__ import annotations

import re
from pathlib import Path

from uws_service.domain.errors import ConfigurationError

SCAFFOLD = Path(__file__).with_name("scaffold")
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_RENAMED = {"application.yaml": "{}.yaml", "bin/program": "bin/{}", "gitlab-ci.yml": ".gitlab-ci.yml"}
_PROGRAMS = frozenset({"bin/program"})


def make_scaffold(name: str, folder: Path) -> list[Path]:
    """Write a new application's files, and return their paths.

    Raises
    ------
    ConfigurationError
        The name can't be that of an application, or the folder has something already.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} can't be the name of an application: it must be lower-case letters, digits and hyphens, at most "
            "40, and begin with a letter"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already; name another folder, or an empty one")
    written: list[Path] = []
    for source in sorted(path for path in SCAFFOLD.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        relative = source.relative_to(SCAFFOLD).as_posix()
        target = folder / _RENAMED.get(relative, relative).format(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8").replace("@NAME@", name), encoding="utf-8")
        if relative in _PROGRAMS:
            target.chmod(0o755)
        written.append(target)
    return written
