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
ALSO = ("RESPONSEFORMAT", "MAXREC", "SITE")
"""Standard parameters that may be columns too."""
TOGETHER = 64 * 1024**2
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
    job_rows: list[tuple[Parameter, ...]] = []
    wrong: list[str] = []
    names: list[str] = []
    rows = size = 0
    shared = _size(common)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _names(application, cells, common)
                continue
            if rows >= maximum:
                raise UsageError(f"The table has more than the {maximum} rows that are allowed.")
            rows += 1
            if len(cells) != len(names):
                wrong.append(f"row {rows} has {len(cells)} cells, the first line has {len(names)}")
                continue
            row = tuple(Parameter(name, cell) for name, cell in zip(names, cells, strict=True) if cell != "")
            size += shared + _size(row)
            if size > TOGETHER:
                raise TooLarge(
                    f"The parameters of the first {rows} jobs have {size} bytes; those of a table's jobs may have "
                    f"{TOGETHER}. {shared} of each job are common to all."
                )
            try:
                check(application, (*common, *row))
            except UsageError as error:
                wrong.append(f"row {rows}: {error.message}")
            job_rows.append((*common, *row))
    except csv.Error as error:
        raise UsageError(f"The table is no CSV: line {reader.line_num}: {error}.") from None
    if wrong:
        remainder = f"; and {len(wrong) - MAX_LISTED_ROWS} more" if len(wrong) > MAX_LISTED_ROWS else ""
        raise UsageError(f"No job was made. {'; '.join(wrong[:MAX_LISTED_ROWS])}{remainder}.")
    if not job_rows:
        raise UsageError("The table has no rows; it needs a line of parameter names and a line for each job.")
    return job_rows


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
