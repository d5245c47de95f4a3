"""A command in a container image, as a batch system's machine runs it: by apptainer or singularity. Pure.

The container sees the attempt's folders below ``/uws`` and its image, and nothing else of the machine: neither the
agent's process nor other jobs. It needs no rights: the program makes a user namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from uws_service.agent import folder as layout
from uws_service.agent.environment import Folders

INSIDE = "/uws"
"""A folder that no image has: a mount below one of the image's own folders may be impossible."""
CANNOT_RUN = 255
"""Exit code of the program if the container can't be made; its last line begins with ``FATAL:`` then."""


class Container:
    """How one attempt's command is run in its image.

    Parameters
    ----------
    program
        The path of apptainer or singularity.
    options
        What the site adds after ``exec``, such as ``--nv``.
    image
        A file, a folder or a URL, as the program takes it.
    work
        The attempt's work folder.
    """

    def __init__(self, program: str, options: Iterable[str], image: str, work: str) -> None:
        self.program, self.options, self.image, self.work = program, tuple(options), image, work
        self.prefix = "SINGULARITYENV_" if "singularity" in os.path.basename(program) else "APPTAINERENV_"
        self.folders = Folders(
            f"{INSIDE}/{layout.INPUT}",
            f"{INSIDE}/{layout.OUTPUT}",
            f"{INSIDE}/{layout.SCRATCH}",
            f"{INSIDE}/{layout.PROGRESS}/{layout.PROGRESS}",
        )

    @staticmethod
    def of(described: Mapping[str, Any] | None, work: str) -> Container | None:
        """Return the container that an order describes.

        None: the command runs on the machine itself.
        """
        if not described:
            return None
        return Container(described["program"], described.get("options", ()), described["image"], work)

    def words(self, command: Iterable[str], mounts: Iterable[str]) -> list[str]:
        """Return a command's words with those before them that run it in the image.

        ``mounts`` are further paths at which it finds the input folder.
        """
        binds = [(layout.INPUT, path, ":ro") for path in (self.folders.input, *mounts)]
        binds += [(name, f"{INSIDE}/{name}", "") for name in (layout.OUTPUT, layout.SCRATCH, layout.PROGRESS)]
        words = [self.program, "--silent", "exec", "--containall", "--userns", *self.options]
        words += ["--home", f"{os.path.join(self.work, layout.SCRATCH)}:{self.folders.scratch}"]
        words += ["--pwd", self.folders.scratch]
        for name, path, mode in binds:
            words += ["--bind", f"{os.path.join(self.work, name)}:{path}{mode}"]
        return [*words, self.image, *command]

    def environment(self, outside: Mapping[str, str], inside: Mapping[str, str]) -> dict[str, str]:
        """Return the program's environment, which holds that of the command under other names."""
        named = {f"{self.prefix}{name}": value for name, value in inside.items() if name != "HOME"}
        return {**outside, **named}

    def problem(self, exit_code: int, tail: str) -> str:
        """Return why there was no container.

        Empty if the command itself has ended so.
        """
        last = tail.strip().rpartition("\n")[2]
        if exit_code != CANNOT_RUN or not last.startswith("FATAL:"):
            return ""
        return f"The container image can't be had: {last.partition(':')[2].strip()[:300]}"
