"""The interface of query engines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from uws_service.adql.model import Dialect, Table, Translation

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one query: rows, seconds, bytes of memory.

    One more row than ``rows`` is requested, to detect an overflow.
    """

    rows: int
    seconds: float
    memory: int


class Engine(Protocol):
    """Runs queries on the published tables, and on nothing else."""

    dialect: Dialect

    def query(
        self,
        translation: Translation,
        bounds: Bounds,
        uploads: Mapping[str, tuple[Table, Iterable[pyarrow.RecordBatch]]],
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield batches of at most ``bounds.rows`` + 1 rows.

        ``uploads`` are the tables of TAP_UPLOAD by name, seen by this query only. Raises `UwsError`
        with words for a person when a bound is hit or a value has no answer.
        """
        ...

    def close(self) -> None:
        """Release all resources."""
        ...
