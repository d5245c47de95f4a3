"""FIELDs of a VOTable, and the columns that they become."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from uws_service.adql.model import Column
from uws_service.tap.types import TEXTS

BYTES = {"unsignedByte": 1, "short": 2, "int": 4, "long": 8, "float": 4, "double": 8, "char": 1, "unicodeChar": 2,
         "boolean": 1, "floatComplex": 8, "doubleComplex": 16, "bit": 0}  # fmt: skip
"""Bytes of one element in BINARY (VOTable 1.4 §2.1); bits are packed."""
_BECOMES = {"bit": "boolean", "floatComplex": "float", "doubleComplex": "double"}


@dataclass(frozen=True, slots=True)
class Field:
    """A FIELD.

    ``datatype`` is the document's own. ``count`` is the number of elements, None if each value has its own;
    ``inner`` the product of all dimensions but the last. ``column`` is None if no table here has its type, and ``why``
    says so.
    """

    name: str
    datatype: str
    count: int | None
    inner: int
    scalar: bool
    null: str | None
    column: Column | None
    reason: str = ""


def field_of(element: Any, description: str, null: str | None) -> Field:
    """Parse a FIELD.

    ValueError for unknown types or sizes.
    """
    name = element.get("name") or element.get("ID") or ""
    datatype = (element.get("datatype") or "char").strip()
    if datatype not in BYTES:
        raise ValueError(f"the datatype {datatype[:40]!r} of the column {name[:60]!r} is not known")
    size = (element.get("arraysize") or "").strip()
    match = re.fullmatch(r"((?:\d{1,9}x)*)(?:(\d{1,9})|(\d{0,9}\*))", size) if size else None
    if size and match is None:
        raise ValueError(f"the arraysize {size[:40]!r} of the column {name[:60]!r} is not known")
    outer = [int(part) for part in match.group(1).split("x") if part] if match else []
    inner = math.prod(outer)
    count: int | None = 1
    if match is not None:
        count = inner * int(match.group(2)) if match.group(2) else None
    scalar = count == 1 and not outer
    column, reason = None, ""
    if datatype in TEXTS and outer:
        reason = "arrays of texts are not taken"
    else:
        column = Column(
            name,
            _column_datatype(datatype, null, scalar),
            _size(datatype, count, scalar),
            element.get("xtype"),
            element.get("unit"),
            element.get("ucd"),
            element.get("utype"),
            description,
        )
    return Field(name, datatype, count, inner, scalar, null, column, reason)


def _column_datatype(datatype: str, null: str | None, scalar: bool) -> str:
    """Return the column's datatype.

    An array with missing bytes needs a wider one.
    """
    if datatype == "unsignedByte" and not scalar and null is not None and null.strip():
        return "short"
    return _BECOMES.get(datatype, datatype)


def _size(datatype: str, count: int | None, scalar: bool) -> str | None:
    """Return the column's arraysize.

    Arrays have one dimension here, and a complex number is two numbers.
    """
    if datatype.endswith("Complex"):
        return "*" if count is None else str(2 * count)
    if scalar:
        return None
    return "*" if count is None else str(count)
