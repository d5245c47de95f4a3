"""Lines of accounts as documents: VOTable, CSV, JSON (DALI 1.1 §4)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from lxml import etree

from uws_service.domain.accounting import FIGURES, Line
from uws_service.protocol.dali import VOTABLE_NS
from uws_service.protocol.uws import xml_text

UNITS = {
    "hours": "h",
    "gib_hours": "GiB.h",
    "gib": "GiB",
    "kwh": "kW.h",
    "kg": "kg",
}
WORDS = {
    "jobs": "Jobs whose first attempt ended",
    "attempts": "Attempts that ended",
    "reserved_cpu_hours": "Hours of cores that were held",
    "wasted_cpu_hours": "Hours of cores that were held by what was lost, failed or aborted",
    "energy_kwh": "Estimated energy; the method is in INFO",
    "co2e_kg": "Estimated CO2 equivalents of the energy",
    "embodied_co2e_kg": "Estimated CO2 equivalents of making the machines",
    "price": "Price, in units of the currency",
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def unit_of(name: str) -> str:
    """Return the unit of a figure, as VOUnits write it."""
    return next((unit for suffix, unit in UNITS.items() if name.endswith(f"_{suffix}")), "")


def usage_votable(by: Sequence[str], lines: Sequence[Line], infos: Mapping[str, str], *, overflow: bool) -> bytes:
    """Return a VOTable.

    Without a figure a cell is empty (N-005, D-046).
    """
    nsmap: Any = {None: VOTABLE_NS}

    def add(parent: etree._Element, tag: str, text: str | None = None, **attributes: str) -> etree._Element:
        element = etree.SubElement(parent, f"{{{VOTABLE_NS}}}{tag}", attributes)
        element.text = text
        return element

    root = etree.Element(f"{{{VOTABLE_NS}}}VOTABLE", {"version": "1.4"}, nsmap=nsmap)
    resource = add(root, "RESOURCE", type="results")
    add(resource, "INFO", name="QUERY_STATUS", value="OK")
    for name, value in infos.items():
        add(resource, "INFO", name=name, value=xml_text(value))
    table = add(resource, "TABLE", name="usage")
    for name in by:
        add(table, "FIELD", name=name, datatype="unicodeChar", arraysize="*")
    for name in FIGURES:
        kind = "long" if name in ("jobs", "attempts") else "double"
        unit = {"unit": unit_of(name)} if unit_of(name) else {}
        field = add(table, "FIELD", None, name=name, datatype=kind, **unit)
        if name in WORDS:
            add(field, "DESCRIPTION", WORDS[name])
    rows = add(add(table, "DATA"), "TABLEDATA")
    for line in lines:
        row = add(rows, "TR")
        for value in (*line.key, *line.figures().values()):
            add(row, "TD", None if value is None else xml_text(str(value)))
    if overflow:
        add(resource, "INFO", "There are more lines than MAXREC.", name="QUERY_STATUS", value="OVERFLOW")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")


def usage_csv(by: Sequence[str], lines: Sequence[Line]) -> str:
    """Return CSV (RFC 4180).

    A name that a spreadsheet would take for a formula gets an apostrophe.
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow([*by, *FIGURES])
    for line in lines:
        keys = [f"'{text}" if text.startswith(FORMULA) else text for text in line.key]
        writer.writerow([*keys, *line.figures().values()])
    return target.getvalue()


def usage_json(
    by: Sequence[str], lines: Sequence[Line], currency: str, methods: Mapping[str, Any], *, overflow: bool
) -> dict[str, Any]:
    """Return the lines with how their energy was estimated (N-004)."""
    rows = [dict(zip(by, line.key, strict=True)) | line.figures() for line in lines]
    return {"by": list(by), "currency": currency, "overflow": overflow, "lines": rows, "energy_methods": methods}
