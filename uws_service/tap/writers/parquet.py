"""Parquet as a stream, with VOTable metadata.

The columns' metadata are a VOTable without data, as the VOParquet convention 1.0 has it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet

from uws_service.tap.types import arrow_schema
from uws_service.tap.writers.base import Document, Rows
from uws_service.tap.writers.votable import head


def parquet(document: Document, result: Rows) -> Iterator[bytes]:
    """Write a row group for each batch, as a stream."""
    described = head(document) + "</TABLE>\n</RESOURCE>\n</VOTABLE>\n"
    notes = {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": described}
    sink = _DrainedFile()
    writer = pyarrow.parquet.ParquetWriter(
        sink, arrow_schema(document.columns).with_metadata(notes), compression="zstd"
    )
    for batch in result:
        writer.write_batch(batch)
        yield sink.take()
    writer.close()
    yield sink.take()


class _DrainedFile(io.RawIOBase):
    """A file that is emptied while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return and remove what was written since the last call."""
        content, self._parts = b"".join(self._parts), []
        return content
