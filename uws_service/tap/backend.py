"""The service's side of a TAP application: tables and processes.

Nothing here imports the engines: only the query processes load them.
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
            from uws_service.tap.tables_source import Tables, TablesSource
        except ImportError as error:
            raise ConfigurationError(
                f"TAP needs the package {error.name}: install uws-service[apps], or leave TAP applications out "
                "(`builtin_applications: false` for the one that ships)."
            ) from None

        self.source = TablesSource.of(spec)
        self.temporary = temporary / str(os.getpid())  # several processes may serve one folder
        self.tables = Tables(self.source)
        self.pool: Pool = Pool(self.source, self.temporary, processes)

    def prepare(self) -> None:
        """Prepare the work folder and the sample.

        `ConfigurationError` if impossible.
        """
        from uws_service.tap.catalogue import Folder
        from uws_service.tap.tables_source import has_sample

        try:
            for folder in self.temporary.parent.glob("[0-9]*"):
                if not Path("/proc", folder.name).exists() or folder == self.temporary:
                    shutil.rmtree(folder, ignore_errors=True)
            self.temporary.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"work folder {self.temporary}: {error.strerror or error}") from None
        if self.source.sample and not has_sample(Folder(Path(self.source.folder))):
            # In a process of its own: what writes tables takes much memory, and the service never needs it again.
            command = [sys.executable, "-m", "uws_service.tap.tables_source", self.source.folder]
            completed = subprocess.run(command, capture_output=True, text=True)
            if completed.returncode:
                last = completed.stderr.strip().rpartition("\n")[2]
                raise ConfigurationError(f"catalogue folder {self.source.folder}: OpenNGC can't be put there: {last}")
        self.published()

    def published(self) -> tuple[Published, ...]:
        """Return the tables that are published now."""
        return self.tables.published()

    async def close(self) -> None:
        """End the processes."""
        await self.pool.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
