"""Tables out of files: VOTable, FITS, CSV, ECSV and Parquet, to columns in VOTable's words and Arrow batches.

What is read may come from anybody: nothing that a file names is opened, and what it claims is not believed.
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

MOST_COLUMNS = 2000
FORMATS = ("votable", "fits", "ecsv", "csv", "parquet")


@dataclass(frozen=True, slots=True)
class Source:
    """A table in a file; ``batches`` can be gone through once, ``rows`` is what the file says of their number."""

    columns: tuple[Column, ...]
    batches: Iterator[Any]
    rows: int | None = None
    description: str = ""
    name: str = ""
    notes: tuple[str, ...] = field(default=())


class Unreadable(UsageError):
    """A file that is not the table that it should be; one line says why."""


def limited(columns: int) -> None:
    """Refuse more columns than a table may have; readers ask before they take much trouble with them."""
    if columns > MOST_COLUMNS:
        raise Unreadable(f"The table has {columns} columns or more; at most {MOST_COLUMNS} are taken.")


def read_table(path: Path, form: str | None = None) -> Source:
    """The first table of a file.

    Raises
    ------
    Unreadable
        It is no table, or one that is broken; while batches are read, too.
    """
    from uws_service.tap.readers.compressed import GZIP, unpacked

    holder: Any = None
    with path.open("rb") as file:
        if file.read(2) == GZIP:
            with _told("gzip"):
                holder = unpacked(path)
            path = holder.path
    form = form or sniffed(path)
    with _told(form):
        if form == "votable":
            from uws_service.tap.readers.votable import read
        elif form == "fits":
            from uws_service.tap.readers.fits import read
        elif form == "parquet":
            from uws_service.tap.readers.parquet import read
        else:
            from uws_service.tap.readers.delimited import read
        found = read(path)
    return replace(found, columns=_unique(found.columns), batches=_watched(found, form, holder))


def sniffed(path: Path) -> str:
    """The format by the first bytes."""
    from uws_service.tap.readers.compressed import GZIP, OTHERS

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
    if text.startswith((b"<?xml", b"<VOTABLE", b"<!--", b"<!DOCTYPE")) or re.match(rb"<\w+:VOTABLE", text):
        return "votable"
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            raise Unreadable(f"The table is compressed with {name}; of such files gzip alone is unpacked.")
    if head.startswith(GZIP):
        raise Unreadable("The table is compressed with gzip twice.")
    if b"\0" in text:
        raise Unreadable("The table is none of VOTable, FITS, CSV, ECSV and Parquet.")
    return "ecsv" if text.startswith(b"# %ECSV") else "csv"


@contextlib.contextmanager
def _told(form: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except MemoryError:
        raise Unreadable("The table needs more memory than there is.") from None
    except Exception as error:  # any reader's complaint is the file's fault
        text = " ".join(str(error).split())[:300]
        raise Unreadable(f"The table can't be read as {form}: {text or type(error).__name__}") from error


def _watched(source: Source, form: str, holder: Any) -> Iterator[Any]:
    """The batches with one meaning of missing; ``holder`` keeps what they are read from."""
    from uws_service.tap.readers.missing import without_fillers

    with _told(form):
        for batch in source.batches:
            yield without_fillers(batch, source.columns)
    del holder


def _unique(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Columns with names that ADQL can tell apart: no two differ in case alone, none is empty."""
    taken: set[str] = set()
    found = []
    for number, column in enumerate(columns, 1):
        stem = " ".join(column.name.split())[:60] or f"col{number}"
        name, count = stem, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name.lower())
        found.append(replace(column, name=name))
    if not found:
        raise Unreadable("The table has no columns.")
    limited(len(found))
    return tuple(found)
