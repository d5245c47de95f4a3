"""Intensities of grids: the shipped table of countries, and series in files (N-002, N-005)."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import structlog

from uws_service.domain.energy import Intensity
from uws_service.domain.errors import ConfigurationError

log = structlog.get_logger(__name__)
COLUMNS = ["time", "gco2e_per_kwh"]


@lru_cache(1)
def countries() -> dict[str, Intensity]:
    """Return the yearly means of countries, by three letters of ISO 3166-1."""
    text = files("uws_service.accounting").joinpath("intensity.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        row["country"]: Intensity(f"{row['source']}, {row['country']}", (float(row["gco2e_per_kwh"]),)) for row in rows
    }


def read_series(path: Path, source: str = "") -> Intensity:
    """Read a series from a CSV file with the columns ``time,gco2e_per_kwh``.

    Raises
    ------
    ConfigurationError
        Names the line that can't be used, and why.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"accounting.carbon.file: {path}: {error}") from None
    if not rows or rows[0] != COLUMNS:
        raise ConfigurationError(f"accounting.carbon.file: {path}:1: must be {','.join(COLUMNS)}")
    times: list[int] = []
    values: list[float] = []
    for number, row in enumerate(rows[1:], 2):
        try:
            instant = datetime.fromisoformat(row[0])
            moment = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
            value = float(row[1])
        except (ValueError, IndexError):
            raise ConfigurationError(f"accounting.carbon.file: {path}:{number}: {','.join(row)[:80]!r}") from None
        if not 0 <= value <= 3000 or (times and moment.timestamp() * 1000 <= times[-1]):
            raise ConfigurationError(
                f"accounting.carbon.file: {path}:{number}: times must ascend, values be from 0 to 3000"
            )
        times.append(int(moment.timestamp() * 1000))
        values.append(value)
    if not times:
        raise ConfigurationError(f"accounting.carbon.file: {path}: has no line with a value")
    return Intensity(source or path.name, tuple(values), tuple(times))


class FileSeries:
    """A series that is read again when its file has changed.

    A file that can't be used meanwhile changes nothing, and is in the log.
    """

    constant = None

    def __init__(self, path: Path, series: Intensity) -> None:
        self.path = path
        self.source = series.source
        self._series = series
        self._stamp = _stamp(path)

    def mean(self, start: int, end: int) -> float:
        """Return the mean over a run, of the file as it is now."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._series = read_series(self.path, self.source)
            except ConfigurationError as error:
                log.warning("intensities can't be read again", error=error.message)
        return self._series.mean(start, end)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
