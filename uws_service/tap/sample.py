"""OpenNGC as a table, out of the package ``pyongc``.

The NGC and IC objects by Mattia Verga (CC-BY-SA-4.0).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.tap.types import arrow_schema

_DESCRIPTION = (
    "OpenNGC: objects of the New General Catalogue and the Index Catalogue with positions, sizes, magnitudes and "
    "other names. By Mattia Verga, CC-BY-SA-4.0."
)


def _magnitude(name: str, band: str, ucd: str) -> Column:
    return Column(name, "double", unit="mag", ucd=f"phot.mag;{ucd}", description=f"Magnitude in {band}")


# Columns of the table, with their names in pyongc's database.
_COLUMNS: tuple[tuple[Column, str], ...] = (
    (Column("name", "char", "*", ucd="meta.id;meta.main", description="Name in OpenNGC", indexed=True), "o.name"),
    (Column("type", "char", "*", ucd="src.class", description="Type of the object, as a word"), "t.typedesc"),
    (Column("type_code", "char", "*", ucd="meta.code.class", description="Type of the object, OpenNGC's code"),
     "o.type"),
    (Column("ra", "double", unit="deg", ucd="pos.eq.ra;meta.main", description="Right ascension (ICRS)"), "o.ra"),
    (Column("dec", "double", unit="deg", ucd="pos.eq.dec;meta.main", description="Declination (ICRS)"), "o.dec"),
    (Column("constellation", "char", "*", ucd="pos", description="Constellation"), "o.const"),
    (Column("major_axis", "double", unit="arcmin", ucd="phys.angSize.smajAxis", description="Major axis"), "o.majax"),
    (Column("minor_axis", "double", unit="arcmin", ucd="phys.angSize.sminAxis", description="Minor axis"), "o.minax"),
    (Column("position_angle", "int", unit="deg", ucd="pos.posAng", description="Position angle, north over east"),
     "o.pa"),
    (_magnitude("bmag", "B", "em.opt.B"), "o.bmag"),
    (_magnitude("vmag", "V", "em.opt.V"), "o.vmag"),
    (_magnitude("jmag", "J", "em.IR.J"), "o.jmag"),
    (_magnitude("hmag", "H", "em.IR.H"), "o.hmag"),
    (_magnitude("kmag", "K", "em.IR.K"), "o.kmag"),
    (Column("surface_brightness", "double", unit="mag/arcsec**2", ucd="phot.mag.sb",
            description="Mean surface brightness within the 25 mag isophote in B"), "o.sbrightn"),
    (Column("hubble", "char", "*", ucd="src.morph.type", description="Hubble type of a galaxy"), "o.hubble"),
    (Column("parallax", "double", unit="mas", ucd="pos.parallax", description="Parallax"), "o.parallax"),
    (Column("pmra", "double", unit="mas/yr", ucd="pos.pm;pos.eq.ra", description="Proper motion in right ascension"),
     "o.pmra"),
    (Column("pmdec", "double", unit="mas/yr", ucd="pos.pm;pos.eq.dec", description="Proper motion in declination"),
     "o.pmdec"),
    (Column("radial_velocity", "int", unit="km/s", ucd="spect.dopplerVeloc", description="Radial velocity"),
     "o.radvel"),
    (Column("redshift", "double", ucd="src.redshift", description="Redshift"), "o.redshift"),
    (Column("messier", "char", "*", ucd="meta.id", description="Number in Messier's catalogue"), "o.messier"),
    (Column("common_names", "unicodeChar", "*", ucd="meta.id", description="Common names"), "o.commonnames"),
    (Column("notes", "unicodeChar", "*", ucd="meta.note", description="Notes of OpenNGC"), "o.ongcnotes"),
)  # fmt: skip
OBJECTS = Table("openngc", "objects", tuple(column for column, _ in _COLUMNS), _DESCRIPTION, position=("ra", "dec"))
IDENTIFIERS = Table(
    "openngc",
    "identifiers",
    (
        Column("name", "char", "*", ucd="meta.id", description="Name in OpenNGC"),
        Column("identifier", "char", "*", ucd="meta.id;meta.main", description="Name in another catalogue"),
    ),
    "Names that the objects of OpenNGC have in other catalogues.",
    foreign_keys=(ForeignKey(("name",), OBJECTS.full_name, ("name",), "The object of an identifier"),),
)


def tables() -> Iterator[tuple[Table, Any]]:
    """Yield each table with its rows.

    Empty texts are null, angles are in degrees.
    """
    import pyongc

    path = Path(pyongc.__file__).parent / "ongc.db"
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as database:
        names = ", ".join(name for _, name in _COLUMNS)
        objects = database.execute(
            f"SELECT {names} FROM objects o JOIN objTypes t USING (type)"
            " WHERE o.ra IS NOT NULL AND o.type NOT IN ('Dup', 'NonEx') ORDER BY o.id"
        ).fetchall()
        names_with_position = {row[0] for row in objects}
        identifiers = database.execute("SELECT name, identifier FROM objIdentifiers ORDER BY id").fetchall()
    angles = {number for number, (_, name) in enumerate(_COLUMNS) if name in ("o.ra", "o.dec")}
    rows = [[math.degrees(value) if number in angles else value for number, value in enumerate(row)] for row in objects]
    yield OBJECTS, _batch(OBJECTS, rows)
    yield IDENTIFIERS, _batch(IDENTIFIERS, [row for row in identifiers if row[0] in names_with_position])


def _batch(table: Table, rows: list[Any]) -> Any:
    kinds = arrow_schema(table.columns)
    columns = [
        pa.array([_value(row[number]) for row in rows], kinds.field(number).type) for number in range(len(kinds))
    ]
    return pa.RecordBatch.from_arrays(columns, schema=kinds)


def _value(value: Any) -> Any:
    return None if value == "" else value
