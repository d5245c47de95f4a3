"""Where a TAP service's tables are, for whoever answers a query: the service, its warm processes, and jobs."""

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
from uws_service.tap.tap_schema import with_itself


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or a PostgreSQL whose URL is in the environment variable ``postgresql``.

    ``sample``: OpenNGC belongs to the folder, and is put there if it is missing.
    """

    folder: str = ""
    postgresql: str = ""
    schemas: tuple[str, ...] = ()
    sample: bool = False

    @classmethod
    def of(cls, spec: CatalogueSpec) -> Place:
        """From a descriptor whose folder is known."""
        return cls(spec.folder, spec.postgresql, spec.schemas, spec.sample)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Place:
        """As `uws_service.applications.launch` tells it to a job."""
        return cls(
            environment.get("UWS_CATALOGUE", ""),
            environment.get("UWS_CATALOGUE_DATABASE", ""),
            tuple(environment.get("UWS_CATALOGUE_SCHEMAS", "").split()),
            bool(environment.get("UWS_CATALOGUE_SAMPLE")),
        )

    def open(self, published: Sequence[Published], temporary: Path) -> Engine:
        """An engine on these tables and TAP_SCHEMA; what does not fit into memory goes into ``temporary``."""
        import pyarrow as pa

        tables = with_itself([one.table for one in published])
        described = tap_schema.rows(tables)
        itself = [(one, pa.Table.from_batches([described[one.name]])) for one in tap_schema.TABLES]
        if self.postgresql:
            from uws_service.tap.engines.postgresql import PostgreSQLEngine

            return PostgreSQLEngine(self.url(), itself)
        from uws_service.tap.engines.duckdb import DuckDBEngine

        rows = [(one.table, Path(self.folder) / one.folder) for one in published]
        return DuckDBEngine([*rows, *itself], temporary)

    def url(self) -> str:
        """The PostgreSQL's URL."""
        url = os.environ.get(self.postgresql)
        if not url:
            raise ConfigurationError(f"The environment variable {self.postgresql} must hold the URL of a PostgreSQL.")
        return url

    def published(self) -> tuple[Published, ...]:
        """The tables with their numbers of rows, without TAP_SCHEMA."""
        if self.postgresql:
            from uws_service.tap.database import published

            return published(self.url(), self.schemas)
        return Folder(Path(self.folder)).tables()

    def state(self) -> object:
        """What differs as soon as other tables are published."""
        return None if self.postgresql else Folder(Path(self.folder)).state()


@dataclass(slots=True)
class Tables:
    """The tables of a place, read again when they have changed."""

    place: Place
    _state: object = field(default_factory=object)
    _found: tuple[Published, ...] = ()
    _whole: tuple[Table, ...] = ()

    def published(self) -> tuple[Published, ...]:
        """With numbers of rows, without TAP_SCHEMA."""
        state = self.place.state()
        if state != self._state:
            self._found = self.place.published()
            self._whole = with_itself([one.table for one in self._found])
            self._state = state
        return self._found

    def all(self) -> tuple[Table, ...]:
        """All that can be queried; the same object as long as nothing has changed."""
        self.published()
        return self._whole


def has_sample(folder: Folder) -> bool:
    """Whether OpenNGC is there."""
    return {"openngc.objects", "openngc.identifiers"} <= {one.table.full_name for one in folder.tables()}


def prepare(place: Place) -> None:
    """Put OpenNGC where it belongs and is not; several processes may do so at once."""
    if not place.sample or place.postgresql or has_sample(Folder(Path(place.folder))):
        return
    from uws_service.tap import sample
    from uws_service.tap.engines.parquet import write_table

    path = Path(place.folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = Folder(path)
        with (path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if has_sample(folder):
                return
            for table, batch in sample.tables():
                room = folder.room(table)
                folder.describe(table, write_table([batch], table, room), room)
    except OSError as error:
        raise ConfigurationError(f"catalogue folder {path}: {error.strerror or error}") from None


if __name__ == "__main__":  # a process of its own, so that the service need not load the engine for it
    prepare(Place(folder=sys.argv[1], sample=True))
