"""Make the work folder of one attempt.

Everything that its agent needs, in an order that a crash can't spoil.
"""

from __future__ import annotations

import asyncio
import os
import site
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uws_service
from uws_service.agent import folder as layout
from uws_service.depot import Depot
from uws_service.domain.attempt import Input, Launch
from uws_service.domain.errors import NotFound, UsageError
from uws_service.sites.local.processes import remove


async def place(folder: Path, launch: Launch, depot: Depot, surroundings: Mapping[str, Any]) -> None:
    """Make the folder, with the inputs that the depot has; the spec comes last.

    What an earlier try left half done is thrown away. ``surroundings`` is what the spec says beside the launch.

    Raises
    ------
    NotFound, UsageError
        An input is not in the depot, or its path leaves the input folder.
    ServiceUnavailable, StorageFull, OSError
        It can't be done now.
    """
    await asyncio.to_thread(remove, folder)
    for path in (layout.INPUT, layout.OUTPUT, layout.SCRATCH, layout.LOG):
        (folder / path).mkdir(parents=True, mode=0o700)
    for item in launch.inputs:
        await _bring(folder / layout.INPUT, item, depot)
    (folder / layout.INPUT / "parameters.json").write_text(launch.parameters, encoding="utf-8")
    passed = {name: os.environ[name] for name in launch.passed if name in os.environ}
    spec = asdict(launch) | {"environment": {**launch.environment, **passed}, **surroundings}
    layout.write_json(str(folder / layout.SPEC), spec)


async def _bring(inputs: Path, item: Input, depot: Depot) -> None:
    path = Path(item.path)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"{item.name}: the path {item.path!r} leaves the input folder.")
    if item.depot_key is None:
        return  # the agent fetches it
    target = inputs / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        await depot.get_file(item.depot_key, target)
    except NotFound as error:
        raise NotFound(f"{item.name}: {error.message}") from None


def search_paths(python: str) -> dict[str, str]:
    """Return where commands are found.

    The interpreter's folder first, so that ``python`` is the one that runs us.
    """
    paths = {"PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin"}
    root = str(Path(uws_service.__file__).parents[1])
    if root not in [*site.getsitepackages(), site.getusersitepackages()]:
        paths["PYTHONPATH"] = root  # run from a source tree: the applications that ship must be found
    return paths
