"""Running one query, from its text to a stream of bytes.

Any process that has the tables can do it: a warm query process or a job's command.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from uws_service.adql import Table, Translation, translate
from uws_service.adql.model import Dialect
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tap.catalogue import NAME
from uws_service.tap.engines.base import Bounds, Engine
from uws_service.tap.overview import Overview
from uws_service.tap.readers import read_table
from uws_service.tap.tables_source import Tables, TablesSource
from uws_service.tap.writers import WRITERS, Document, Rows, Watch

MAX_UPLOADED_ROWS = 10_000_000
"""Rows of one uploaded table."""
Upload = tuple[Table, Iterator[Any]]


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query to run.

    ``form`` is the format of the result, ``uploads`` the files of the uploaded tables by name.
    """

    query: str
    form: str
    maxrec: int
    uploads: Mapping[str, Path]
    seconds: float
    memory: int


class QueryRunner:
    """Runs queries on the tables of one source.

    Parameters
    ----------
    source
        Where the tables are.
    temporary
        Folder for what does not fit into memory.
    """

    def __init__(self, source: TablesSource, temporary: Path) -> None:
        self.tables = Tables(source)
        self.source = source
        self.temporary = temporary
        self._engine: Engine | None = None
        self._opened_for: tuple[Table, ...] = ()
        self.notes: tuple[str, ...] = ()
        """What reading the last request's uploads lost or changed, for people."""

    def answer(self, request: QueryRequest, watch: Watch | None = None) -> Iterator[bytes]:
        """Return the result in its format.

        The query has started, and its first rows are there, when this returns.

        Raises
        ------
        UwsError
            The query, an upload or a limit is at fault; the message is for people.
        """
        document, rows = self._result(request, watch)
        return WRITERS[request.form](document, rows)

    def overview(self, request: QueryRequest, first_rows: int) -> dict[str, Any]:
        """Return the result as a page shows it: its first rows, and what stands for all of them.

        Raises
        ------
        UwsError
            As for `answer`.
        """
        document, rows = self._result(request, None)
        overview = Overview(document.columns, first_rows)
        overview.watch(iter(rows))
        return {**overview.as_dict(), "overflow": rows.overflow}

    def _result(self, request: QueryRequest, watch: Watch | None) -> tuple[Document, Rows]:
        """Return the result's metadata and rows, once the first rows are there."""
        tables = self.tables.all()
        faults: list[UsageError] = []
        read = {name: _uploaded(name, path, faults) for name, path in request.uploads.items()}
        uploads = {name: upload for name, (upload, _) in read.items()}
        self.notes = tuple(f"UPLOAD {name}: {note}" for name, (_, notes) in read.items() for note in notes)
        engine = self._opened(tables)
        # Long queries and uploaded tables would fill the cache.
        translator = translate if uploads or len(request.query) > MAX_CACHED_CHARACTERS else _cached_translation
        translation = translator(request.query, (*tables, *(table for table, _ in uploads.values())), engine.dialect)
        infos = tuple(("UPLOAD_NOTE", note) for note in self.notes)
        document = Document(translation.columns, request.query, infos)
        if request.maxrec == 0:
            return document, Rows((), translation.columns, 0)
        bounds = Bounds(request.maxrec, request.seconds, request.memory)
        batches = iter(engine.query(translation, bounds, uploads))
        try:
            first = next(batches, None)
        except UwsError as error:  # a fault in an upload comes back as the engine's failure
            raise (faults[0] if faults else error) from None
        batches = itertools.chain([first], batches) if first is not None else iter(())
        return document, Rows(batches, translation.columns, request.maxrec, watch)

    def _opened(self, tables: tuple[Table, ...]) -> Engine:
        """Return an engine for the tables published now."""
        if self._engine is None or self._opened_for is not tables:
            self.close()
            self._engine = self.source.open(self.tables.published(), self.temporary)
            self._opened_for = tables
        return self._engine

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


MAX_CACHED_CHARACTERS = 10_000
"""Characters of a query whose translation is cached."""


@lru_cache(512)
def _cached_translation(query: str, tables: tuple[Table, ...], dialect: Dialect) -> Translation:
    return translate(query, tables, dialect)


def _uploaded(name: str, path: Path, faults: list[UsageError]) -> tuple[Upload, tuple[str, ...]]:
    """Return an upload as TAP_UPLOAD.name (T-014), and notes.

    Rows are read only when the engine asks for them.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"UPLOAD: the table name {name[:80]!r} must be a letter and then letters, digits or '_'.")
    try:
        source = read_table(path)
    except UsageError as error:
        raise UsageError(f"UPLOAD {name}: {error.message}") from None
    return (Table("TAP_UPLOAD", name, source.columns), _counted(source.batches, name, faults)), source.notes


def _counted(batches: Iterator[Any], name: str, faults: list[UsageError]) -> Iterator[Any]:
    count = 0
    try:
        for batch in batches:
            count += batch.num_rows
            if count > MAX_UPLOADED_ROWS:
                raise UsageError(f"the table has more than {MAX_UPLOADED_ROWS} rows.")
            yield batch
    except UsageError as error:
        faults.append(UsageError(f"UPLOAD {name}: {error.message}"))
        raise faults[-1] from None
