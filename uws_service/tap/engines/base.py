"""What every engine offers: names, columns and Arrow batches in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from uws_service.adql.model import Dialect, Table, Translation

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one query may take: rows (one more is asked for, to see the overflow), seconds, bytes of memory."""

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
        """Batches of the result in the order of ``translation.columns``, ``bounds.rows`` + 1 rows at most.

        ``uploads`` are the tables of TAP_UPLOAD by name, seen by this query only. Raises `UwsError`
        with words for a person when a bound is hit or a value has no answer.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
