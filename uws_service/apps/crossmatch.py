"""The application ``crossmatch``: a table of positions against OpenNGC, by astropy.

The catalogue is OpenNGC (NGC and IC objects, 14,000 entries), which the package ``pyongc`` carries. The input is a
VOTable, FITS or CSV table; the columns of right ascension and declination are found by UCD or name unless named.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any, NoReturn

UCDS = {
    "ra": ("pos.eq.ra;meta.main", "pos.eq.ra", "POS_EQ_RA_MAIN"),
    "dec": ("pos.eq.dec;meta.main", "pos.eq.dec", "POS_EQ_DEC_MAIN"),
}
NAMES = {
    "ra": r"(_?raj2000|ra|ra_?deg|right_?ascension|ra_?icrs|radeg_hi|alpha\w*)",
    "dec": r"(_?dej2000|dec|dec_?deg|de_?deg|declination|de_?icrs|decdeg_hi|delta\w*)",
}
MAGIC = {b"SIMPLE": "fits", b"<?xml": "votable", b"<VOTAB": "votable"}
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
    """Tell how far the work has come."""
    path = os.environ.get("UWS_PROGRESS_FILE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{fraction:.2f} {text}\n")


def read_table(path: Path) -> Any:
    """The table, whatever of the three formats it has."""
    from astropy.table import Table

    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    if not head:
        fail("The uploaded table is empty.")
    kind = next((form for magic, form in MAGIC.items() if head.startswith(magic)), "ascii.csv")
    try:
        if kind == "votable":
            from astropy.io.votable import parse

            return parse(path).get_first_table().to_table(use_names_over_ids=True)
        if kind == "fits":
            return Table.read(path, format="fits")
        return Table.read(path.read_text(encoding="utf-8-sig").splitlines(), format="ascii.csv")
    except SystemExit:
        raise
    except Exception as error:  # any reader's complaint is the user's table's fault
        text = " ".join(str(error).split())[:300]
        fail(f"The uploaded table can't be read as VOTable, FITS or CSV (it looks like {kind}): {text}")


def find_column(table: Any, what: str, named: str | None) -> str:
    """The column of right ascension or declination."""
    if named:
        if named not in table.colnames:
            fail(f"The table has no column {named!r}; it has: {', '.join(table.colnames)}.")
        return named
    for ucd in UCDS[what]:
        for name in table.colnames:
            if str(table[name].meta.get("ucd", "")).lower() == ucd.lower():
                return str(name)
    for name in table.colnames:
        if re.fullmatch(NAMES[what], name.lower()):
            return str(name)
    fail(f"No column for {what.upper()} was found; name it with {what.upper()}. Columns: {', '.join(table.colnames)}.")


def positions(table: Any, ra: str, dec: str) -> Any:
    """Coordinates of the rows, in degrees unless the columns say otherwise."""
    import numpy as np
    from astropy import units
    from astropy.coordinates import SkyCoord

    angles = []
    for name in (ra, dec):
        column = table[name]
        unit = column.unit or units.deg
        try:
            values: Any = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
            if values.ndim != 1:
                raise ValueError(name)
            angles.append((values * units.Unit(unit)).to(units.deg))
        except (TypeError, ValueError, units.UnitsError):
            fail(f"The column {name!r} (unit {unit}) does not hold angles as numbers.")
    good = np.isfinite(angles[0].value) & np.isfinite(angles[1].value)
    if np.any(np.abs(angles[1].value[good]) > 90):
        fail(f"The column {dec!r} holds declinations beyond 90 degrees.")
    return SkyCoord(angles[0][good], angles[1][good]), np.flatnonzero(good)


def catalogue() -> tuple[Any, Any]:
    """OpenNGC: rows and coordinates of the objects that exist and have a position."""
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


def match(table: Any, ra: str, dec: str, radius: float) -> Any:
    """The rows that have a counterpart within ``radius`` arcseconds, with the nearest one's columns beside."""
    import numpy as np
    from astropy import units
    from astropy.table import Column, MaskedColumn

    own, rows = positions(table, ra, dec)
    progress(0.4, f"{len(own)} positions read")
    entries, known = catalogue()
    progress(0.6, f"{len(entries)} objects of OpenNGC")
    if len(own):
        index, separation, _ = own.match_to_catalog_sky(known)
        near = separation.to(units.arcsec).value <= radius
    else:
        index, near, separation = np.zeros(0, int), np.zeros(0, bool), np.zeros(0) * units.deg
    matched = table[rows[near]]
    picked = [entries[number] for number in np.atleast_1d(index)[near]]
    values: dict[str, Any] = {
        "ngc_name": [row[0] for row in picked],
        "ngc_type": [row[1] for row in picked],
        "ngc_ra": np.degrees([row[2] for row in picked]),
        "ngc_dec": np.degrees([row[3] for row in picked]),
        "ngc_vmag": np.ma.masked_invalid([np.nan if row[4] is None else row[4] for row in picked]),
        "separation": separation.to(units.arcsec).value[near],
    }
    for name, (ucd, unit, description) in COLUMNS.items():
        kind = MaskedColumn if name == "ngc_vmag" else Column
        dtype = "U64" if name in ("ngc_name", "ngc_type") else float
        unique = name if name not in matched.colnames else f"{name}_2"
        column = kind(values[name], name=unique, dtype=dtype, unit=unit, description=description, meta={"ucd": ucd})
        matched.add_column(column)
    return matched


def write(table: Any, path: Path, form: str, overflow: bool, info: dict[str, str]) -> None:
    """The result in the format asked for; a VOTable tells its status and where the data came from (D-046…D-049)."""
    if form == "votable":
        from astropy.io.votable import from_table
        from astropy.io.votable.tree import Info

        document = from_table(table)
        resource = document.resources[0]
        resource.infos.append(Info(name="QUERY_STATUS", value="OVERFLOW" if overflow else "OK"))
        for name, value in info.items():
            resource.infos.append(Info(name=name, value=value))
        for column in resource.tables[0].fields:
            ucd = table[column.name].meta.get("ucd")
            if ucd:
                column.ucd = ucd
        document.to_xml(str(path))
    elif form == "fits":
        table.meta.clear()
        table.write(path, format="fits")
    else:
        table.write(path, format="ascii.csv" if form == "csv" else "ascii.tab")


def main() -> int:
    """Run; exit code 2 when the user's input is at fault."""
    parser = argparse.ArgumentParser(prog="crossmatch", description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--radius", type=float, default=10.0)
    parser.add_argument("--ra")
    parser.add_argument("--dec")
    parser.add_argument("--format", default=os.environ.get("UWS_RESPONSEFORMAT", "votable"))
    parser.add_argument("--maxrec", type=int, default=int(os.environ.get("UWS_MAXREC", "1000000")))
    options = parser.parse_args()
    import warnings

    warnings.simplefilter("ignore")  # units and dates of old tables: not the user's concern here
    files = sorted(options.table.iterdir()) if options.table.is_dir() else [options.table]
    if not files:
        fail("No table was uploaded: send UPLOAD=name,param:part with a file, or UPLOAD=name,URL.")
    progress(0.1, "reading the table")
    table = read_table(files[0])
    ra, dec = find_column(table, "ra", options.ra), find_column(table, "dec", options.dec)
    matched = match(table, ra, dec, options.radius)
    total = len(matched)
    overflow = total > options.maxrec or options.maxrec == 0
    progress(0.9, f"{total} matches")
    info = {
        "rows_read": str(len(table)),
        "matches": str(total),
        "catalogue": "OpenNGC by Mattia Verga, CC-BY-SA-4.0",
        "columns": f"{ra}, {dec}",
        "radius_arcsec": f"{options.radius:g}",
    }
    path = Path(os.environ["UWS_OUTPUT_DIR"]) / "result"
    try:
        write(matched[: options.maxrec], path, options.format, overflow, info)
    except (TypeError, ValueError) as error:  # columns of arrays, in CSV for one
        path.unlink(missing_ok=True)
        fail(f"The table's columns can't be written as {options.format}: {' '.join(str(error).split())[:300]}")
    print(f"{len(table)} rows read, {total} matched within {options.radius:g} arcsec ({ra}, {dec})")
    progress(1.0, f"{total} of {len(table)} rows matched")
    return 0


if __name__ == "__main__":
    sys.exit(main())
