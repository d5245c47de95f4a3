"""The rows of a table as the parameters of jobs. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from uws_service.applications.model import Application
from uws_service.applications.parameters import check
from uws_service.domain.errors import TooLarge, UsageError
from uws_service.domain.job import Parameter

MAX_LISTED_ROWS = 5
"""So many rows that are wrong are named."""
ALSO = ("RESPONSEFORMAT", "MAXREC", "PRIORITY", "PREFER", "SITE")
"""Standard parameters that may be columns too."""
MAX_TOTAL_BYTES = 64 * 1024**2
"""Bytes of all parameters of all jobs: what they have in common is stored with each of them."""


def read_rows(
    application: Application, text: str, common: Sequence[Parameter], maximum: int
) -> list[tuple[Parameter, ...]]:
    """Return the parameters of each row, checked.

    Parameters
    ----------
    text
        CSV, or TSV if its first line has a tab: a line of parameter names, then a line for each job. An empty cell is
        a parameter that is not given.
    common
        What all jobs have besides.
    maximum
        Rows that are allowed.

    Raises
    ------
    UsageError
        The table can't be read, or jobs of it could not run; names the rows.
    TooLarge
        What all jobs have in common is too much for so many.
    """
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in first else ",", strict=True)
    rows = _Rows(application, common, maximum)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.add(cells)
    except csv.Error as error:
        raise UsageError(f"The table is no CSV: line {reader.line_num}: {error}.") from None
    return rows.checked()


class _Rows:
    """The rows of a table, checked one after the other."""

    def __init__(self, application: Application, common: Sequence[Parameter], maximum: int) -> None:
        self.application, self.common, self.maximum = application, common, maximum
        self._common_size = _size(common)
        self._names: list[str] = []
        self._jobs: list[tuple[Parameter, ...]] = []
        self._wrong: list[str] = []
        self._count = self._size = 0

    def add(self, cells: Sequence[str]) -> None:
        """Take the names of the columns, or the values of a job."""
        if not self._names:
            self._names = _names(self.application, cells, self.common)
            return
        if self._count >= self.maximum:
            raise UsageError(f"The table has more than the {self.maximum} rows that are allowed.")
        self._count += 1
        if len(cells) != len(self._names):
            self._wrong.append(f"row {self._count} has {len(cells)} cells, the first line has {len(self._names)}")
            return
        row = tuple(Parameter(name, cell) for name, cell in zip(self._names, cells, strict=True) if cell != "")
        self._size += self._common_size + _size(row)
        if self._size > MAX_TOTAL_BYTES:
            raise TooLarge(
                f"The parameters of the first {self._count} jobs have {self._size} bytes; those of a table's jobs may "
                f"have {MAX_TOTAL_BYTES}. {self._common_size} of each job are common to all."
            )
        try:
            check(self.application, (*self.common, *row))
        except UsageError as error:
            self._wrong.append(f"row {self._count}: {error.message}")
        self._jobs.append((*self.common, *row))

    def checked(self) -> list[tuple[Parameter, ...]]:
        """Return the parameters of each job, or raise what is wrong with any row."""
        if self._wrong:
            hidden = len(self._wrong) - MAX_LISTED_ROWS
            remainder = f"; and {hidden} more" if hidden > 0 else ""
            raise UsageError(f"No job was made. {'; '.join(self._wrong[:MAX_LISTED_ROWS])}{remainder}.")
        if not self._jobs:
            raise UsageError("The table has no rows; it needs a line of parameter names and a line for each job.")
        return self._jobs


def _size(parameters: Sequence[Parameter]) -> int:
    return sum(len(parameter.name.encode()) + len(parameter.value.encode(errors="replace")) for parameter in parameters)


def _names(application: Application, cells: Sequence[str], common: Sequence[Parameter]) -> list[str]:
    """Return the columns as parameters of the application."""
    names = [cell.strip() for cell in cells]
    declared = {parameter.name.upper(): parameter.name for parameter in application.parameters} | {
        name: name for name in ALSO
    }
    unknown = [name for name in names if name.upper() not in declared]
    if unknown:
        possible = ", ".join(declared.values())
        message = f"The column {unknown[0][:64]!r} is no parameter of {application.name!r}"
        raise UsageError(f"{message}; possible: {possible}.")
    folded: dict[str, str] = {}
    for name in names:
        if name.upper() in folded:
            raise UsageError(f"The column {name!r} is there more than once.")
        folded[name.upper()] = name
    twice = [parameter.name for parameter in common if parameter.name.upper() in folded]
    if twice:
        raise UsageError(f"{twice[0]} is a column of the table and a parameter beside it; give it once.")
    return [declared[name] for name in folded]
