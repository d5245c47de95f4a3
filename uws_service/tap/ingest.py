"""A file becomes a published table: its metadata into a description, its rows into the engine's form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uws_service.adql.model import Column, Table
from uws_service.adql.scope import needs_quotes
from uws_service.domain.errors import UsageError
from uws_service.tap.catalogue import Folder, check_name
from uws_service.tap.database import position_of
from uws_service.tap.engines.parquet import write_table
from uws_service.tap.readers import read_table

UCDS = {"ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
_NAMES = {
    "ra": r"_?raj2000|ra|ra_?deg|right_?ascension|ra_?icrs|radeg\w*|alpha\w*",
    "dec": r"_?dej2000|dec|dec_?deg|de_?deg|declination|de_?icrs|dedeg\w*|decdeg\w*|delta\w*",
}
_DEGREES = frozenset({None, "deg", "degree", "degrees"})


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was published, and what its users will miss."""

    table: Table
    rows: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator says about a table, in place of what is found in the file."""

    name: str
    description: str = ""
    ra: str = ""
    dec: str = ""
    replace: bool = False


def default_name(path: Path, schema: str) -> str:
    """``schema.table`` from a file's name."""
    stem = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_") or "table"
    return f"{schema}.{stem if stem[0].isalpha() and not needs_quotes(stem) else f't_{stem}'}"


def ingest(path: Path, folder: Folder, wishes: Wishes, progress: Callable[[int, int | None], None]) -> Ingested:
    """Read a file and publish it; ``progress`` hears of rows so far, and of all if the file tells.

    Raises
    ------
    UsageError
        The file is no table, or the name is wrong or taken.
    """
    schema, name = check_name(wishes.name)
    for word in (schema, name):
        if needs_quotes(word):
            raise UsageError(f"{word!r} is a word of ADQL's own; choose another name.")
    if not wishes.replace and any(one.table.full_name.lower() == wishes.name.lower() for one in folder.tables()):
        raise UsageError(f"The table {wishes.name} is there; --replace puts this one in its place.")
    source = read_table(path)
    columns, position, warnings = _placed(source.columns, wishes)
    table = Table(schema, name, columns, wishes.description or source.description, position=position)
    room = folder.room(table)
    rows = write_table(source.batches, table, room, lambda count: progress(count, source.rows))
    folder.describe(table, rows, room)
    return Ingested(table, rows, (*source.notes, *warnings, *_missing(table)))


def _placed(
    columns: tuple[Column, ...], wishes: Wishes
) -> tuple[tuple[Column, ...], tuple[str, str] | None, list[str]]:
    """The columns with UCD and unit on the positions, their names, and what was guessed."""
    warnings: list[str] = []
    names: dict[str, str] = {}
    for axis, wish in (("ra", wishes.ra), ("dec", wishes.dec)):
        if wish:
            names[axis] = _named(columns, wish)
    found = position_of(columns) if not names else None
    if found is not None:
        return columns, found, warnings
    for axis in ("ra", "dec"):
        if axis not in names:
            fits = [one.name for one in columns if re.fullmatch(_NAMES[axis], one.name.lower()) and _is_angle(one)]
            if fits:
                names[axis] = fits[0]
    if len(names) < 2:
        warnings.append("there are no positions, so no cones and no matches on the sky (name them with --ra and --dec)")
        return columns, None, warnings
    if not (wishes.ra and wishes.dec):
        warnings.append(f"{names['ra']} and {names['dec']} are taken for the positions (ICRS, degrees), by their names")
    marked = tuple(
        replace(one, ucd=UCDS[axis], unit="deg")
        if (axis := next((key for key, name in names.items() if name == one.name), ""))
        else one
        for one in columns
    )
    return marked, (names["ra"], names["dec"]), warnings


def _named(columns: Sequence[Column], name: str) -> str:
    for one in columns:
        if one.name.lower() == name.lower():
            if not _is_angle(one):
                unit = f" in {one.unit}" if one.unit else ""
                raise UsageError(f"The column {one.name!r} ({one.datatype}{unit}) does not hold degrees as numbers.")
            return one.name
    raise UsageError(f"There is no column {name!r}; there are: {', '.join(one.name for one in columns)[:500]}.")


def _is_angle(column: Column) -> bool:
    return column.datatype in ("float", "double") and column.arraysize is None and column.unit in _DEGREES


def _missing(table: Table) -> Iterator[str]:
    """What a good table would have, one line for each kind."""
    quoted = [one.name for one in table.columns if needs_quotes(one.name)]
    if quoted:
        yield f"names that queries must write in double quotes: {_some(quoted)}"
    if not table.description:
        yield "the table has no description (--description)"
    numbers = [one for one in table.columns if one.datatype in ("float", "double")]
    for what, lacking in (
        ("unit", [one.name for one in numbers if not one.unit]),
        ("UCD", [one.name for one in table.columns if not one.ucd]),
        ("description", [one.name for one in table.columns if not one.description]),
    ):
        if lacking:
            yield f"no {what}: {_some(lacking)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
