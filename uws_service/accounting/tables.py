"""Attempts as rows of tables: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uws_service.domain.errors import ConfigurationError
from uws_service.domain.price import MICRO
from uws_service.domain.usage_record import UsageRecord, month_text

Read = Callable[[UsageRecord], Any]


def instant_text(milliseconds: int | None) -> str | None:
    """Return an instant in UTC."""
    if milliseconds is None:
        return None
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _part(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


COLUMNS: Mapping[str, tuple[str, Read]] = {
    "job_id": ("string", lambda record: record.job_id),
    "number": ("int64", lambda record: record.number),
    "site": ("string", lambda record: record.site),
    "application": ("string", lambda record: record.application),
    "owner": ("string", lambda record: record.owner),
    "group": ("string", lambda record: record.group),
    "created": ("string", lambda record: instant_text(record.created)),
    "submitted": ("string", lambda record: instant_text(record.submitted)),
    "started": ("string", lambda record: instant_text(record.started)),
    "ended": ("string", lambda record: instant_text(record.ended)),
    "exit_code": ("int64", lambda record: record.exit_code),
    "reason": ("string", lambda record: record.reason or None),
    "cpu_requested": ("double", lambda record: record.cores),
    "memory_requested": ("int64", lambda record: record.memory),
    "wall": ("double", lambda record: record.wall_ms / 1000),
    "cpu": ("double", lambda record: record.cpu_ms / 1000),
    "peak_memory": ("int64", lambda record: record.peak_memory),
    "bytes_in": ("int64", lambda record: record.bytes_in),
    "bytes_out": ("int64", lambda record: record.bytes_out),
    "bytes_moved": ("int64", lambda record: record.bytes_moved),
    "month": ("string", lambda record: month_text(record.month)),
    "kind": ("string", lambda record: record.kind),
    "project": ("string", lambda record: record.project),
    "gpus": ("int64", lambda record: record.gpus),
    "waste": ("string", lambda record: record.waste or None),
    "benchmark": ("string", lambda record: record.benchmark or None),
    "benchmark_value": ("double", lambda record: record.benchmark_value or None),
    "energy_wh": ("double", lambda record: _part(record.energy_mwh, 1000)),
    "gco2e": ("double", lambda record: _part(record.co2e_ug, 1e6)),
    "embodied_gco2e": ("double", lambda record: _part(record.embodied_ug, 1e6)),
    "method": ("string", lambda record: record.method or None),
    "price": ("double", lambda record: _part(record.price, MICRO)),
    "currency": ("string", lambda record: record.currency or None),
}
"""The columns: their types in Parquet, and where they come from. Times are seconds, sizes bytes, CO2e grams."""


def row(record: UsageRecord) -> dict[str, Any]:
    """Return an attempt as a row.

    What is not known is None, an empty cell in CSV (N-005).
    """
    return {name: read(record) for name, (_, read) in COLUMNS.items()}


def csv_text(records: Iterable[UsageRecord], *, head: bool = True) -> str:
    """Return rows as CSV (RFC 4180), with a line of names if there is a head.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    target = io.StringIO()
    writer = csv.DictWriter(target, list(COLUMNS), lineterminator="\n")
    if head:
        writer.writeheader()
    for record in records:
        writer.writerow({name: harmless(value) for name, value in row(record).items()})
    return target.getvalue()


def harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet runs.

    Owners and groups are texts of others.
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def json_lines(records: Iterable[UsageRecord]) -> str:
    """Return rows as JSON, an object in each line."""
    return "".join(json.dumps(row(record), ensure_ascii=False) + "\n" for record in records)


class ParquetFile:
    """A Parquet file that is written page by page."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ConfigurationError("Parquet needs pyarrow: install uws-service[apps].") from None

        self._arrow = pyarrow
        kinds = {"string": pyarrow.string(), "int64": pyarrow.int64(), "double": pyarrow.float64()}
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, records: Sequence[UsageRecord]) -> None:
        """Write a page of rows."""
        self._writer.write_table(self._arrow.Table.from_pylist([row(record) for record in records], self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
