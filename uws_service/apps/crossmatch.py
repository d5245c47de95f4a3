"""The application ``crossmatch``: a table of positions against OpenNGC, by astropy.

The catalogue is OpenNGC (NGC and IC objects, 14,000 entries), which the package ``pyongc`` carries. The input is a
table in any of the service's formats, read by its own reader; the columns of right ascension and declination are found
by UCD or name unless named.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any, NoReturn

from uws_service.adql.model import Column
from uws_service.domain.errors import UsageError, UwsError
from uws_service.tables import UserTable, read_arrow
from uws_service.tap.types import TEXTS, is_array
from uws_service.tap.writers import WRITERS, Document, Rows

UCDS = {
    "ra": ("pos.eq.ra;meta.main", "pos.eq.ra", "POS_EQ_RA_MAIN"),
    "dec": ("pos.eq.dec;meta.main", "pos.eq.dec", "POS_EQ_DEC_MAIN"),
}
NAMES = {
    "ra": r"(_?raj2000|ra|ra_?deg|right_?ascension|ra_?icrs|radeg_hi|alpha\w*)",
    "dec": r"(_?dej2000|dec|dec_?deg|de_?deg|declination|de_?icrs|decdeg_hi|delta\w*)",
}
COLUMNS = {
    "ngc_name": ("meta.id;meta.main", None, "Name in OpenNGC"),
    "ngc_type": ("src.class", None, "Type of the object in OpenNGC"),
    "ngc_ra": ("pos.eq.ra", "deg", "Right ascension in OpenNGC (ICRS)"),
    "ngc_dec": ("pos.eq.dec", "deg", "Declination in OpenNGC (ICRS)"),
    "ngc_vmag": ("phot.mag;em.opt.V", "mag", "V magnitude in OpenNGC"),
    "separation": ("pos.angDistance", "arcsec", "Angle between the two positions"),
}


def fail(message: str) -> NoReturn:
    """End with one line for the user."""
    print(message, file=sys.stderr)
    raise SystemExit(2)


def progress(fraction: float, text: str) -> None:
    """Report how far the work is."""
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.2f} {text}\n")


def read_table(path: Path) -> UserTable:
    """Read the table; open nothing that it names."""
    try:
        return read_arrow(path)
    except UsageError as error:
        fail(error.message)


def find_column(table: UserTable, axis: str, column_name: str | None) -> str:
    """Find the column of an axis."""
    names = [column.name for column in table.columns]
    if column_name:
        if column_name not in names:
            fail(f"The table has no column {column_name!r}; it has: {', '.join(names)}.")
        return column_name
    for ucd in UCDS[axis]:
        for column in table.columns:
            if (column.ucd or "").lower() == ucd.lower():
                return column.name
    for name in names:
        if re.fullmatch(NAMES[axis], name.lower()):
            return name
    fail(f"No column for {axis.upper()} was found; name it with {axis.upper()}. Columns: {', '.join(names)}.")


def is_number(column: Column) -> bool:
    """Return whether each value of the column is a number."""
    return not is_array(column) and column.datatype not in TEXTS and column.datatype != "boolean"


def positions(table: UserTable, ra: str, dec: str) -> Any:
    """Return the rows' coordinates, in degrees by default."""
    import numpy as np
    import pyarrow as pa
    from astropy import units
    from astropy.coordinates import SkyCoord

    angles = []
    for name in (ra, dec):
        column = next(item for item in table.columns if item.name == name)
        unit = column.unit or "deg"
        try:
            numbers = table.rows[name]
            if numbers.null_count < len(numbers) and not is_number(column):
                raise ValueError(name)
            values: Any = pa.nulls(len(numbers), pa.float64()) if not is_number(column) else numbers.cast("double")
            values = values.to_numpy(zero_copy_only=False)
            angles.append((values * units.Unit(unit)).to(units.deg))
        except (TypeError, ValueError, units.UnitsError):
            fail(f"The column {name!r} (unit {unit}) does not hold angles as numbers.")
    good = np.isfinite(angles[0].value) & np.isfinite(angles[1].value)
    if np.any(np.abs(angles[1].value[good]) > 90):
        fail(f"The column {dec!r} holds declinations beyond 90 degrees.")
    return SkyCoord(angles[0][good], angles[1][good]), np.flatnonzero(good)


def catalogue() -> tuple[Any, Any]:
    """Return OpenNGC's objects with positions, and coordinates."""
    import pyongc
    from astropy import units
    from astropy.coordinates import SkyCoord

    path = Path(pyongc.__file__).parent / "ongc.db"
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as database:
        rows = database.execute(
            "SELECT name, typedesc, ra, dec, vmag FROM objects JOIN objTypes USING (type)"
            " WHERE ra IS NOT NULL AND type NOT IN ('Dup', 'NonEx') ORDER BY id"
        ).fetchall()
    return rows, SkyCoord([row[2] for row in rows] * units.rad, [row[3] for row in rows] * units.rad)


def match(table: UserTable, ra: str, dec: str, radius: float) -> UserTable:
    """Return the rows with a counterpart within ``radius`` arcseconds.

    The nearest object's columns come beside them.
    """
    import numpy as np
    import pyarrow as pa
    from astropy import units

    coordinates, rows = positions(table, ra, dec)
    progress(0.4, f"{len(coordinates)} positions read")
    entries, catalogue_coordinates = catalogue()
    progress(0.6, f"{len(entries)} objects of OpenNGC")
    if len(coordinates):
        index, separation, _ = coordinates.match_to_catalog_sky(catalogue_coordinates)
        within_radius = separation.to(units.arcsec).value <= radius
    else:
        index, within_radius, separation = np.zeros(0, int), np.zeros(0, bool), np.zeros(0) * units.deg
    picked = [entries[number] for number in np.atleast_1d(index)[within_radius]]
    values: dict[str, Any] = {
        "ngc_name": [row[0] for row in picked],
        "ngc_type": [row[1] for row in picked],
        "ngc_ra": np.degrees([row[2] for row in picked]),
        "ngc_dec": np.degrees([row[3] for row in picked]),
        "ngc_vmag": [row[4] for row in picked],
        "separation": separation.to(units.arcsec).value[within_radius],
    }
    matched = table.rows.take(pa.array(rows[within_radius]))
    columns = list(table.columns)
    present = {column.name.lower() for column in columns}
    for name, (ucd, unit, description) in COLUMNS.items():
        text = name in ("ngc_name", "ngc_type")
        unique = name if name not in present else f"{name}_2"
        columns.append(Column(unique, "char" if text else "double", "*" if text else None, unit=unit, ucd=ucd,
                              description=description))  # fmt: skip
        matched = matched.append_column(unique, pa.array(values[name], pa.string() if text else pa.float64()))
    return UserTable(tuple(columns), matched, table.notes)


def write(table: UserTable, path: Path, form: str, maxrec: int, info: dict[str, str]) -> None:
    """Write the result in the requested format.

    A VOTable tells its status and the origin of the data (D-046…D-049).
    """
    document = Document(table.columns, infos=tuple(info.items()))
    with path.open("wb") as file:
        for part in WRITERS[form](document, Rows(table.rows.to_batches(), table.columns, maxrec)):
            file.write(part)


def main() -> int:
    """Run; exit with 2 for invalid input."""
    parser = argparse.ArgumentParser(prog="crossmatch", description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--radius", type=float, default=10.0)
    parser.add_argument("--ra")
    parser.add_argument("--dec")
    parser.add_argument("--format", default=os.environ.get("UWS_RESPONSEFORMAT", "votable"))
    parser.add_argument("--maxrec", type=int, default=int(os.environ.get("UWS_MAXREC", "1000000")))
    options = parser.parse_args()
    files = sorted(options.table.iterdir()) if options.table.is_dir() else [options.table]
    if not files:
        fail("No table was uploaded: send UPLOAD=name,param:part with a file, or UPLOAD=name,URL.")
    progress(0.1, "reading the table")
    table = read_table(files[0])
    ra, dec = find_column(table, "ra", options.ra), find_column(table, "dec", options.dec)
    matched = match(table, ra, dec, options.radius)
    total, read = matched.rows.num_rows, table.rows.num_rows
    progress(0.9, f"{total} matches")
    info = {
        "rows_read": str(read),
        "matches": str(total),
        "catalogue": "OpenNGC by Mattia Verga, CC-BY-SA-4.0",
        "columns": f"{ra}, {dec}",
        "radius_arcsec": f"{options.radius:g}",
        **{f"note_{number}": note for number, note in enumerate(table.notes, 1)},
    }
    path = Path(os.environ["UWS_OUTPUT_DIR"]) / "result"
    try:
        write(matched, path, options.format, options.maxrec, info)
    except UwsError as error:
        path.unlink(missing_ok=True)
        fail(error.message)
    for note in table.notes:
        print(f"Note: {note}.")
    print(f"{read} rows read, {total} matched within {options.radius:g} arcsec ({ra}, {dec})")
    progress(1.0, f"{total} of {read} rows matched")
    return 0


if __name__ == "__main__":
    sys.exit(main())
