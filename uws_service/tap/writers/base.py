"""Common input of all writers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from uws_service.adql.model import Column
from uws_service.domain.errors import UwsError
from uws_service.tap.types import NULL_ELEMENTS, conform, require_sizes

BATCH_ROWS = 65_536
"""Rows that are encoded at once."""


@dataclass(frozen=True, slots=True)
class Document:
    """The metadata of a result.

    ``infos`` are further (name, value) pairs for readers.
    """

    columns: tuple[Column, ...]
    query: str = ""
    infos: tuple[tuple[str, str], ...] = ()


Watch = Callable[[Iterator[Any], Sequence[Column]], Iterator[Any]]
"""Yields the batches unchanged, and may inspect them."""


def null_element(array: Any, column: Column) -> int:
    """Return what stands for a missing integer in a list; bytes have nothing (VOTable 1.4 §6)."""
    if column.datatype == "unsignedByte" and array.flatten().null_count:
        raise UwsError(
            f"The column {column.name!r} has missing bytes in arrays, which VOTable can't hold; use FITS or CSV."
        )
    return NULL_ELEMENTS.get(column.datatype, 0)


class Rows:
    """Up to ``limit`` rows of a result, in the declared types.

    ``overflow`` tells afterwards whether there were more. MAXREC=0 requests no rows and counts as an overflow (D-025,
    T-012).
    """

    def __init__(
        self, batches: Iterable[Any], columns: Sequence[Column], limit: int, watch: Watch | None = None
    ) -> None:
        self._batches = batches
        self._columns = columns
        self.limit = limit
        self.count = 0
        self.overflow = limit == 0
        self._watch = watch

    def __iter__(self) -> Iterator[Any]:
        return self._watch(self._rows(), self._columns) if self._watch is not None else self._rows()

    def _rows(self) -> Iterator[Any]:
        if self.limit == 0:
            return
        for batch in self._batches:
            remaining = self.limit - self.count
            if batch.num_rows > remaining:
                self.overflow = True
                batch = batch.slice(0, remaining)
            for begin in range(0, batch.num_rows, BATCH_ROWS):
                part = self._conformed(batch.slice(begin, BATCH_ROWS))
                self.count += part.num_rows
                yield part
            if self.overflow:
                return

    def _conformed(self, batch: Any) -> Any:
        try:
            conformed = conform(batch, self._columns)
            require_sizes(conformed, self._columns)
            return conformed
        except ValueError as error:
            raise UwsError(f"The result can't be written: {error}.") from error
