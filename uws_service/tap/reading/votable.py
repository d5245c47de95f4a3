"""The first table of a VOTable (1.0 to 1.5) as a stream: TABLEDATA, BINARY and BINARY2 (VOTable 1.4 §5).

A parser of our own, since a general one opens what STREAM names and makes room for as many rows as a document claims.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pyarrow as pa
from lxml import etree

from uws_service.adql.model import Column
from uws_service.tap.reading import Source, Unreadable, limited
from uws_service.tap.reading.values import Nulls, binary_rows, from_texts
from uws_service.tap.types import arrow_schema

ROWS = 20_000
"""Rows of one batch."""
_TYPES = {"bit": "boolean", "floatComplex": "float", "doubleComplex": "double"}


def read(path: Path) -> Source:
    """Its columns at once, its rows when they are asked for."""
    events = _events(path)
    columns: list[Column] = []
    nulls: Nulls = []
    name = description = ""
    for event, element in events:
        tag = _tag(element)
        if event == "start" and tag == "TABLE":
            if element.get("ref"):
                raise Unreadable("The VOTable's first table takes its columns from another one by reference.")
            name = element.get("name") or element.get("ID") or ""
        elif event == "end" and tag == "FIELD":
            columns.append(_column(element))
            nulls.append(next((one.get("null") for one in element if _tag(one) == "VALUES"), None))
            limited(len(columns))
        elif event == "end" and tag == "DESCRIPTION" and _tag(element.getparent()) == "TABLE":
            description = " ".join((element.text or "").split())
        elif event == "start" and tag in ("TABLEDATA", "BINARY", "BINARY2"):
            found = tuple(columns)
            rows = _tabledata(events, found, nulls) if tag == "TABLEDATA" else _binary(events, found, nulls, tag)
            return Source(found, rows, None, description, name)
        elif event == "start" and tag == "FITS":
            raise Unreadable("The VOTable has its rows in a FITS file; send the FITS file itself.")
        elif event == "end" and tag == "TABLE":
            return Source(tuple(columns), iter(()), 0, description, name)
    raise Unreadable("The VOTable has no table.")


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    """Starts and ends of elements; no entity of the document's own is filled in, nothing is fetched."""
    _check_prolog(path)
    try:
        for event, element in etree.iterparse(  # noqa: TID251 -- nothing is filled in or fetched
            str(path), events=("start", "end"), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True
        ):
            if isinstance(element.tag, str):
                yield event, element
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"The VOTable is not well-formed XML: {' '.join(str(error).split())[:200]}") from None


def _check_prolog(path: Path) -> None:
    """Refuse entities of a document's own before its first element: they unpack without a bound, or name files."""

    def refuse(name: str, *_: object) -> None:
        raise Unreadable(f"The VOTable declares the entity {name[:40]!r}; write the text itself.")

    def stop(*_: object) -> None:
        raise StopIteration

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = stop
    with contextlib.suppress(StopIteration, expat.ExpatError), path.open("rb") as file:  # lxml tells what is wrong
        parser.ParseFile(file)


def _tag(element: Any) -> str:
    tag = element.tag if element is not None else ""
    return str(tag).rpartition("}")[2] if isinstance(tag, str) else ""


def _column(element: Any) -> Column:
    datatype = element.get("datatype") or "char"
    size = (element.get("arraysize") or "").strip() or None
    if datatype in _TYPES and datatype != "bit":
        size = "2" if size is None else "*"
    datatype = _TYPES.get(datatype, datatype)
    if size is not None and "x" in size:
        size = "*"  # a table here has no arrays of more than one dimension
    if size == "1":
        size = None
    description = next((one.text or "" for one in element if _tag(one) == "DESCRIPTION"), "")
    return Column(
        element.get("name") or element.get("ID") or "",
        datatype,
        size,
        element.get("xtype"),
        element.get("unit"),
        element.get("ucd"),
        element.get("utype"),
        " ".join(description.split()),
    )


def _tabledata(events: Iterator[tuple[str, Any]], columns: Sequence[Column], nulls: Nulls) -> Iterator[Any]:
    kinds = arrow_schema(columns)
    cells: list[list[str | None]] = [[] for _ in columns]
    count = 0
    for event, element in events:
        if event != "end":
            continue
        tag = _tag(element)
        if tag == "TR":
            texts = [one.text for one in element if _tag(one) == "TD"]
            if len(texts) != len(columns):
                raise Unreadable(
                    f"Row {count + 1} of the VOTable has {len(texts)} cells; the table has {len(columns)}."
                )
            for cell, text in zip(cells, texts, strict=True):
                cell.append(text)
            count += 1
            _forget(element)
            if count % ROWS == 0:
                yield _batch(cells, columns, nulls, kinds)
                cells = [[] for _ in columns]
        elif tag == "TABLEDATA":
            break
    if cells and cells[0]:
        yield _batch(cells, columns, nulls, kinds)


def _forget(element: Any) -> None:
    """What has been read takes no memory any more."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


def _batch(cells: Sequence[Sequence[str | None]], columns: Sequence[Column], nulls: Nulls, kinds: Any) -> Any:
    arrays = [from_texts(cell, column, null) for cell, column, null in zip(cells, columns, nulls, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _binary(events: Iterator[tuple[str, Any]], columns: Sequence[Column], nulls: Nulls, tag: str) -> Iterator[Any]:
    for event, element in events:
        if _tag(element) != "STREAM":
            continue
        if element.get("href"):
            raise Unreadable("The VOTable has its rows at another place (STREAM href); send them inside it.")
        if event == "end":
            if (element.get("encoding") or "base64") != "base64":
                raise Unreadable(f"The encoding {element.get('encoding')!r} of the rows is not read; use base64.")
            try:
                data = base64.b64decode(element.text or "")
            except binascii.Error as error:
                raise Unreadable(f"The rows of the VOTable are not base64: {error}.") from None
            yield from binary_rows(data, columns, nulls, flags=tag == "BINARY2", size=ROWS)
            return
