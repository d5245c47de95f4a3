"""Make the work folder of one attempt.

Everything that its agent needs, in an order that a crash can't spoil.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog

from uws_service.agent import folder as layout
from uws_service.agent.confined import open_below
from uws_service.depot import Depot
from uws_service.domain.attempt import Input, Launch, Mount
from uws_service.domain.errors import NotFound, UsageError
from uws_service.sites.local.processes import remove

log = structlog.get_logger(__name__)


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
    # A command in an image sees the input folder and nothing that links lead to.
    inputs = [await _bring(folder / layout.INPUT, item, depot, copies=launch.needs_image) for item in launch.inputs]
    (folder / layout.INPUT / "parameters.json").write_text(launch.parameters, encoding="utf-8")
    passed = {name: os.environ[name] for name in launch.passed if name in os.environ}
    environment = {**launch.environment, **passed}
    spec = asdict(replace(launch, inputs=tuple(inputs), data=())) | {"environment": environment, **surroundings}
    layout.write_json(str(folder / layout.SPEC), spec)


async def _bring(inputs: Path, item: Input, depot: Depot, *, copies: bool) -> Input:
    """Bring what the depot or the site has.

    Return the input, which has a URL only if the agent is to fetch it.
    """
    path = Path(item.path)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"{item.name}: the path {item.path!r} leaves the input folder.")
    target = inputs / path
    if item.mount is not None:
        return await asyncio.to_thread(_link, target, item, item.mount, copies=copies)
    if item.depot_key is None:
        return item  # the agent fetches it
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        await depot.get_file(item.depot_key, target)
    except NotFound as error:
        raise NotFound(f"{item.name}: {error.message}") from None
    return item


def _link(target: Path, item: Input, mount: Mount, *, copies: bool) -> Input:
    """Link or copy a file of a storage area; one that is not there as it should be is fetched, if it can be.

    What is looked at and what is copied is one open file, whatever is put into its place meanwhile.
    """
    root = os.path.realpath(mount.volume)
    source = os.path.realpath(os.path.join(root, mount.path))
    problem = "" if source.startswith(f"{root}/") else "is no file of the storage area"
    if not problem:
        try:
            descriptor = open_below(root, os.path.relpath(source, root))
        except OSError as error:
            problem = "can't be read there" if error.errno == errno.EACCES else _absence(error)
        else:
            try:
                problem = _mismatch(os.fstat(descriptor), item)
                if not problem:
                    _put(target, source, descriptor if copies else None)
                    return replace(item, url=None)
            finally:
                os.close(descriptor)
    if item.url is None:
        raise NotFound(f"{item.name} {problem} (storage area {mount.area}).")
    log.warning("data of a storage area are fetched instead", area=mount.area, file=mount.path, problem=problem)
    return replace(item, mount=None)


def _absence(error: OSError) -> str:
    return f"is not there: {error.strerror or error}"


def _mismatch(entry: os.stat_result, item: Input) -> str:
    """Return why a file is not what the catalogue describes; empty if it is."""
    if not stat.S_ISREG(entry.st_mode):
        return "is no file of the storage area"
    if item.size is not None and entry.st_size != item.size:
        return f"has {entry.st_size} bytes there instead of {item.size}"
    return ""


def _put(target: Path, source: str, descriptor: int | None) -> None:
    """Copy an open file to its place among the inputs; None: link to where it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if descriptor is None:
        target.symlink_to(source)
        return
    with open(descriptor, "rb", closefd=False) as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy)
