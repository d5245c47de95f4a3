"""Where a TAP service's tables are.

The service, its warm processes and jobs all open them by this.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uws_service.adql.model import Table
from uws_service.domain.errors import ConfigurationError
from uws_service.tap import tap_schema
from uws_service.tap.catalogue import Folder, Published
from uws_service.tap.descriptor import CatalogueSpec
from uws_service.tap.engines.base import Engine
from uws_service.tap.tap_schema import with_tap_schema


@dataclass(frozen=True, slots=True)
class TablesSource:
    """A folder, or a PostgreSQL database.

    The database's URL is in the environment variable ``postgresql``. ``sample``: OpenNGC belongs to the folder, and is
    put there if it is missing.
    """

    folder: str = ""
    postgresql: str = ""
    schemas: tuple[str, ...] = ()
    sample: bool = False

    @classmethod
    def of(cls, spec: CatalogueSpec) -> TablesSource:
        """Build from a descriptor whose folder is set."""
        return cls(spec.folder, spec.postgresql, spec.schemas, spec.sample)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> TablesSource:
        """Build from a job's environment, written by `launch`."""
        return cls(
            environment.get("UWS_CATALOGUE", ""),
            environment.get("UWS_CATALOGUE_DATABASE", ""),
            tuple(environment.get("UWS_CATALOGUE_SCHEMAS", "").split()),
            bool(environment.get("UWS_CATALOGUE_SAMPLE")),
        )

    def open(self, published: Sequence[Published], temporary: Path) -> Engine:
        """Open an engine on these tables and TAP_SCHEMA.

        What does not fit into memory goes into ``temporary``.
        """
        import pyarrow as pa

        tables = with_tap_schema([item.table for item in published])
        described = tap_schema.rows(tables)
        itself = [(item, pa.Table.from_batches([described[item.name]])) for item in tap_schema.TABLES]
        if self.postgresql:
            from uws_service.tap.engines.postgresql import PostgreSQLEngine

            return PostgreSQLEngine(self.url(), itself)
        from uws_service.tap.engines.duckdb import DuckDBEngine

        rows = [(item.table, Path(self.folder) / item.folder) for item in published]
        return DuckDBEngine([*rows, *itself], temporary)

    def url(self) -> str:
        """Return the PostgreSQL URL."""
        url = os.environ.get(self.postgresql)
        if not url:
            raise ConfigurationError(f"The environment variable {self.postgresql} must hold the URL of a PostgreSQL.")
        return url

    def published(self) -> tuple[Published, ...]:
        """Return the tables, without TAP_SCHEMA."""
        if self.postgresql:
            from uws_service.tap.database import published

            return published(self.url(), self.schemas)
        return Folder(Path(self.folder)).tables()

    def state(self) -> object:
        """Return a value that changes with the published tables."""
        return None if self.postgresql else Folder(Path(self.folder)).state()


@dataclass(slots=True)
class Tables:
    """The tables of a source, read again when they change."""

    source: TablesSource
    _state: object = field(default_factory=object)
    _published: tuple[Published, ...] = ()
    _all: tuple[Table, ...] = ()

    def published(self) -> tuple[Published, ...]:
        """Return the published tables, without TAP_SCHEMA."""
        state = self.source.state()
        if state != self._state:
            self._published = self.source.published()
            self._all = with_tap_schema([item.table for item in self._published])
            self._state = state
        return self._published

    def all(self) -> tuple[Table, ...]:
        """Return all tables.

        The same object while nothing changes.
        """
        self.published()
        return self._all


def has_sample(folder: Folder) -> bool:
    """Return whether OpenNGC is published."""
    return {"openngc.objects", "openngc.identifiers"} <= {item.table.full_name for item in folder.tables()}


def prepare(source: TablesSource) -> None:
    """Publish OpenNGC if it is missing.

    Several processes may do so at once.
    """
    if not source.sample or source.postgresql or has_sample(Folder(Path(source.folder))):
        return
    from uws_service.tap import sample
    from uws_service.tap.engines.parquet import write_table

    path = Path(source.folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = Folder(path)
        with (path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if has_sample(folder):
                return
            for table, batch in sample.tables():
                folder_of_rows = folder.new_folder(table)
                folder.describe(table, write_table([batch], table, folder_of_rows), folder_of_rows)
    except OSError as error:
        raise ConfigurationError(f"catalogue folder {path}: {error.strerror or error}") from None


if __name__ == "__main__":  # a process of its own, so that the service need not load the engine for it
    os.umask(0o022)  # published tables: pods of other users mount their folder; what is private lies above it
    prepare(TablesSource(folder=sys.argv[1], sample=True))
