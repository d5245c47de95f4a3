"""VOTable 1.4 as a stream: TABLEDATA (§5.1), BINARY2 (§5.4).

The first INFO says OK, since nothing more is known at that point; an overflow, or an error that comes while rows are
written, follows the table (DALI 1.1 §4.4; D-046…D-048, T-012).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.domain.errors import UwsError
from uws_service.protocol.dali import VOTABLE_NS
from uws_service.protocol.uws import xml_text
from uws_service.tap.types import NULL_ELEMENTS, TEXTS, fixed_size, is_array
from uws_service.tap.writers import binary
from uws_service.tap.writers.base import Document, Rows, null_element
from uws_service.tap.writers.text import escaped, rows, texts

_XML = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))
_NOT_XML = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\ufffe\uffff]"


def field_xml(column: Column) -> str:
    """Return a column's FIELD.

    It has no ID, which astropy would take for the column's name.
    """
    attributes = {
        "name": column.name,
        "datatype": column.datatype,
        "arraysize": column.arraysize,
        "xtype": column.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
    }
    text = "".join(f" {name}={quoteattr(xml_text(value))}" for name, value in attributes.items() if value)
    content = f"<DESCRIPTION>{escape(xml_text(column.description))}</DESCRIPTION>" if column.description else ""
    if is_array(column) and column.datatype in NULL_ELEMENTS:
        content += f'<VALUES null="{NULL_ELEMENTS[column.datatype]}"/>'
    return f"<FIELD{text}>{content}</FIELD>\n" if content else f"<FIELD{text}/>\n"


def info_xml(name: str, value: str, text: str = "") -> str:
    """Return an INFO."""
    start = f"<INFO name={quoteattr(name)} value={quoteattr(xml_text(value))}"
    return f"{start}>{escape(xml_text(text))}</INFO>\n" if text else f"{start}/>\n"


def head(document: Document) -> str:
    """Return everything before the data."""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<VOTABLE version="1.4" xmlns="{VOTABLE_NS}">\n<RESOURCE type="results">\n',
        info_xml("QUERY_STATUS", "OK"),
        info_xml("QUERY", "see text", document.query) if document.query else "",
        *(info_xml(name, value) for name, value in document.infos),
        "<TABLE>\n",
        *(map(field_xml, document.columns)),
    ]
    return "".join(parts)


def _tail(result: Rows, error: str) -> str:
    text = "</TABLE>\n"
    if error:
        text += info_xml("QUERY_STATUS", "ERROR", error)
    elif result.overflow:
        text += info_xml("QUERY_STATUS", "OVERFLOW", f"There are more rows than the {result.limit} that were allowed.")
    return text + "</RESOURCE>\n</VOTABLE>\n"


def tabledata(document: Document, result: Rows) -> Iterator[bytes]:
    """Write a VOTable that people can read."""
    yield (head(document) + "<DATA><TABLEDATA>\n").encode()
    error = ""
    try:
        for batch in result:
            columns = [_cells(array, column) for array, column in zip(batch.columns, document.columns, strict=True)]
            yield rows(columns, "<TR><TD>", "</TD><TD>", "</TD></TR>\n")
    except UwsError as problem:
        error = problem.message
    yield ("</TABLEDATA></DATA>\n" + _tail(result, error)).encode()


def _cells(array: Any, column: Column) -> Any:
    size = fixed_size(column)
    numbers = is_array(column) and column.datatype in ("float", "double") and size is not None
    element = str(null_element(array, column)) if is_array(column) else ""
    cells = texts(array, " ".join(["NaN"] * size) if numbers and size else "", element)
    if column.datatype not in TEXTS:
        return cells
    if pc.any(pc.match_substring_regex(cells, "[&<>\\x00-\\x1f\ufffe\uffff]")).as_py():
        cells = escaped(pc.replace_substring_regex(cells, _NOT_XML, "?"), _XML)
    return cells


def binary2(document: Document, result: Rows) -> Iterator[bytes]:
    """Write a VOTable for programs.

    Base64 rows with null flags.
    """
    yield (head(document) + '<DATA><BINARY2><STREAM encoding="base64">\n').encode()
    error, remainder = "", b""
    try:
        for batch in result:
            data = remainder + binary.rows(batch, document.columns)
            complete = len(data) // 48 * 48
            remainder = data[complete:]
            yield _lines(data[:complete])
    except UwsError as problem:
        error = problem.message
    yield _lines(remainder)
    yield ("</STREAM></BINARY2></DATA>\n" + _tail(result, error)).encode()


def _lines(data: bytes) -> bytes:
    return base64.b64encode(data) + b"\n" if data else b""
