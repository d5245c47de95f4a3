"""Where commands of local jobs are found. Imports little: the command line needs it to check a descriptor."""

from __future__ import annotations

import site
from collections.abc import Iterable
from pathlib import Path

import uws_service


def search_paths(python: str, folders: Iterable[Path] = ()) -> dict[str, str]:
    """Return where commands are found.

    The interpreter's folder first, so that ``python`` is the one that runs us; then ``folders``, then the system's.
    """
    places = [str(Path(python).parent), *map(str, folders), "/usr/local/bin", "/usr/bin", "/bin"]
    paths = {"PATH": ":".join(places)}
    root = str(Path(uws_service.__file__).parents[1])
    if root not in [*site.getsitepackages(), site.getusersitepackages()]:
        paths["PYTHONPATH"] = root  # run from a source tree: the applications that ship must be found
    return paths
