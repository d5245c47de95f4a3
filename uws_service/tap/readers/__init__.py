"""Reading tables: VOTable, FITS, CSV, ECSV and Parquet.

They become columns in VOTable's terms and Arrow batches. Files may come from anybody: nothing that a file names is
opened, and what it claims is not trusted.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uws_service.adql.model import Column
from uws_service.domain.errors import UsageError

MAX_COLUMNS = 2000
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")
"""Characters that no engine or format takes in a name."""
FIRST_ONLY = "the file has several tables, of which the first is read"
FORMATS = ("votable", "fits", "ecsv", "csv", "parquet")
OTHER_TEXTS = (
    (re.compile(rb"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE), "an HTML page"),
    (re.compile(rb'[{[]\s*["{[]'), "JSON"),
)
"""What a server answers in place of a table, a login page for one; every text could pass for CSV."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table in a file.

    ``batches`` can be iterated once; ``rows`` is the file's own claim.
    """

    columns: tuple[Column, ...]
    batches: Iterator[Any]
    rows: int | None = None
    description: str = ""
    name: str = ""
    notes: tuple[str, ...] = field(default=())


class Unreadable(UsageError):
    """A file that is not a valid table."""


def check_column_count(columns: int) -> None:
    """Refuse too many columns, before they cost much."""
    if columns > MAX_COLUMNS:
        raise Unreadable(f"The table has {columns} columns or more; at most {MAX_COLUMNS} are taken.")


def read_table(path: Path, form: str | None = None) -> Source:
    """Open the first table of a file.

    Raises
    ------
    Unreadable
        It is no table, or one that is broken; while batches are read, too.
    """
    from uws_service.tap.readers.compression import GZIP, unpacked

    holder: Any = None
    with path.open("rb") as file:
        if file.read(2) == GZIP:
            with _reading_errors("gzip"):
                holder = unpacked(path)
            path = holder.path
    form = form or detect_format(path)
    with _reading_errors(form):
        if form == "votable":
            from uws_service.tap.readers.votable import read
        elif form == "fits":
            from uws_service.tap.readers.fits import read
        elif form == "parquet":
            from uws_service.tap.readers.parquet import read
        else:
            from uws_service.tap.readers.delimited import read
        source = read(path)
    columns = _unique(source.columns)
    notes = (*source.notes, *_masks(columns))
    return replace(source, columns=columns, batches=_normalised(source, form, holder), notes=notes)


def _masks(columns: tuple[Column, ...]) -> Iterator[str]:
    """Yield notes on columns whose missing values another column tells, as astropy's ``data_mask`` writes them."""
    names = {column.name for column in columns}
    for column in columns:
        name = column.name.removesuffix(".mask")
        if column.datatype == "boolean" and name != column.name and name in names:
            yield f"values of the column {name!r} that {column.name!r} marks as missing are read as they stand"


def detect_format(path: Path) -> str:
    """Detect the format by the first bytes."""
    from uws_service.tap.readers.compression import GZIP, UNSUPPORTED

    with path.open("rb") as file:
        head = file.read(4096)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) // 2 * 2].decode("utf-16", "replace").lstrip().encode()
    if not text:
        raise Unreadable("The table is empty.")
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    for pattern, name in OTHER_TEXTS:
        if pattern.match(text):
            raise Unreadable(f"The table is {name}; send VOTable, FITS, CSV, ECSV or Parquet.")
    if text.startswith((b"<?xml", b"<VOTABLE", b"<!--", b"<!DOCTYPE")) or re.match(rb"<\w+:VOTABLE", text):
        return "votable"
    for magic, name in UNSUPPORTED.items():
        if head.startswith(magic):
            raise Unreadable(f"The table is compressed with {name}; of such files gzip alone is unpacked.")
    if head.startswith(GZIP):
        raise Unreadable("The table is compressed with gzip twice.")
    if b"\0" in text:
        raise Unreadable("The table is none of VOTable, FITS, CSV, ECSV and Parquet.")
    return "ecsv" if text.startswith(b"# %ECSV") else "csv"


@contextlib.contextmanager
def _reading_errors(form: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except MemoryError:
        raise Unreadable("The table needs more memory than there is.") from None
    except Exception as error:  # whatever a reader raises is the file's fault
        text = " ".join(str(error).split())[:300]
        raise Unreadable(f"The table can't be read as {form}: {text or type(error).__name__}") from error


def _normalised(source: Source, form: str, holder: Any) -> Iterator[Any]:
    """Yield batches with nulls in place of fillers.

    ``holder`` keeps the file alive that they are read from.
    """
    from uws_service.tap.readers.nulls import without_fillers

    with _reading_errors(form):
        for batch in source.batches:
            yield without_fillers(batch, source.columns)
    del holder


def _unique(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Make names unique, ignoring case, and non-empty."""
    used_names: set[str] = set()
    unique = []
    for number, column in enumerate(columns, 1):
        stem = _CONTROL.sub("_", " ".join(column.name.split()))[:60] or f"col{number}"
        name, count = stem, 1
        while name.lower() in used_names:
            count += 1
            name = f"{stem}_{count}"
        used_names.add(name.lower())
        unique.append(replace(column, name=name))
    if not unique:
        raise Unreadable("The table has no columns.")
    check_column_count(len(unique))
    return tuple(unique)
