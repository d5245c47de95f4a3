"""What a running service has of each TAP application: its tables for the documents, its processes for the queries.

Nothing here imports the engines: they are in the query processes alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from uws_service.domain.errors import ConfigurationError
from uws_service.tap.descriptor import CatalogueSpec

if TYPE_CHECKING:
    from uws_service.tap.catalogue import Published
    from uws_service.tap.pool import Pool


class Queries:
    """Tables and warm processes of one application.

    Parameters
    ----------
    spec
        Where the tables are.
    temporary
        Folder for what does not fit into the processes' memory.
    processes
        How many there may be.
    """

    def __init__(self, spec: CatalogueSpec, temporary: Path, processes: int) -> None:
        try:
            from uws_service.tap.pool import Pool
            from uws_service.tap.tables_source import Place, Tables
        except ImportError as error:
            raise ConfigurationError(
                f"TAP needs the package {error.name}: install uws-service[apps], or leave TAP applications out "
                "(`builtin_applications: false` for the one that ships)."
            ) from None

        self.place = Place.of(spec)
        self.temporary = temporary / str(os.getpid())  # several processes may serve one folder
        self.tables = Tables(self.place)
        self.pool: Pool = Pool(self.place, self.temporary, processes)

    def prepare(self) -> None:
        """What must be there before the first query; `ConfigurationError` if it can't be."""
        from uws_service.tap.catalogue import Folder
        from uws_service.tap.tables_source import has_sample

        try:
            for left in self.temporary.parent.glob("[0-9]*"):
                if not Path("/proc", left.name).exists() or left == self.temporary:
                    shutil.rmtree(left, ignore_errors=True)
            self.temporary.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"work folder {self.temporary}: {error.strerror or error}") from None
        if self.place.sample and not has_sample(Folder(Path(self.place.folder))):
            # In a process of its own: what writes tables takes much memory, and the service never needs it again.
            command = [sys.executable, "-m", "uws_service.tap.tables_source", self.place.folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = done.stderr.strip().rpartition("\n")[2]
                raise ConfigurationError(f"catalogue folder {self.place.folder}: OpenNGC can't be put there: {last}")
        self.published()

    def published(self) -> tuple[Published, ...]:
        """The published tables, those of now."""
        return self.tables.published()

    async def close(self) -> None:
        """End the processes."""
        await self.pool.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
