"""Parquet with its metadata: a VOTable inside (VOParquet 1.0), or what Arrow's own fields say."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet

from uws_service.adql.model import Column
from uws_service.tap.readers import Source
from uws_service.tap.types import column_type, conform


def read(path: Path) -> Source:
    """Columns that VOTable has no words for are left out, and the notes say so."""
    file = pyarrow.parquet.ParquetFile(path)
    schema = file.schema_arrow
    known = _described(schema.metadata or {})
    columns, kept, notes = [], [], []
    for field in schema:
        try:
            datatype, size, xtype = column_type(field.type)
        except ValueError as error:
            notes.append(f"the column {field.name!r} is left out: {error}")
            continue
        words = {name.decode(): value.decode("utf-8", "replace") for name, value in (field.metadata or {}).items()}
        column = Column(field.name, datatype, size, xtype, words.get("unit"), words.get("ucd"), words.get("utype"),
                        words.get("description", ""))  # fmt: skip
        told = known.get(field.name)
        if told is not None:
            column = replace(column, xtype=told.xtype or xtype, unit=told.unit, ucd=told.ucd, utype=told.utype,
                             description=told.description)  # fmt: skip
        columns.append(column)
        kept.append(field.name)
    found = tuple(columns)
    return Source(found, _batches(file, kept, found), file.metadata.num_rows, notes=tuple(notes))


def _batches(file: Any, kept: list[str], columns: tuple[Column, ...]) -> Iterator[Any]:
    for batch in file.iter_batches(columns=kept):
        yield conform(batch, columns)


def _described(metadata: dict[bytes, bytes]) -> dict[str, Column]:
    content = metadata.get(b"IVOA.VOTable-Parquet.content")
    if content is None:
        return {}
    from uws_service.tap.readers.votable import read as read_votable

    with tempfile.NamedTemporaryFile(suffix=".vot") as draft:
        draft.write(content)
        draft.flush()
        return {one.name: one for one in read_votable(Path(draft.name)).columns}
