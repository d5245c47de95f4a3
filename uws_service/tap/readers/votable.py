"""The first table of a VOTable, 1.0 to 1.5 (VOTable 1.4 §5).

TABLEDATA is read as a stream, BINARY and BINARY2 from memory. The parser is our own, since a general one opens what
STREAM names and allocates as many rows as a document claims.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from uws_service.adql.model import Column
from uws_service.tap.readers import FIRST_ONLY, Source, Unreadable, check_column_count
from uws_service.tap.readers.binary import BATCH_ROWS, Table
from uws_service.tap.readers.fields import Field, field_of
from uws_service.tap.readers.text_values import typed
from uws_service.tap.types import TEXTS, arrow_schema

BATCH_CHARACTERS = 8 << 20
_CHUNK_BYTES = 1 << 20
_TABLE_START = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,30}:)?TABLE[\s>/]")
_TABLE_START_BYTES = 40
"""Bytes before the end of a piece that may begin a tag."""
PARSED_TAGS = [f"{{*}}{name}" for name in ("TABLE", "FIELD", "DESCRIPTION", "DATA", "TABLEDATA", "BINARY", "BINARY2",
                                     "FITS", "STREAM", "TR")]  # fmt: skip
"""Elements that the parser reports; cells come with their row."""


def read(path: Path) -> Source:
    """Open a table.

    Rows are read when they are iterated.
    """
    events = _events(path)
    fields: list[Field] = []
    name = description = ""
    for event, element in events:
        tag = _tag(element)
        if event == "start" and tag == "TABLE":
            if element.get("ref"):
                raise Unreadable("The VOTable's first table takes its columns from another one by reference.")
            name = element.get("name") or element.get("ID") or ""
        elif event == "end" and tag == "FIELD":
            fields.append(_field(element))
            check_column_count(len(fields))
        elif event == "end" and tag == "DESCRIPTION" and _tag(element.getparent()) == "TABLE":
            description = " ".join((element.text or "").split())
        elif event == "start" and tag in ("TABLEDATA", "BINARY", "BINARY2"):
            source = _tabledata(path, events, fields) if tag == "TABLEDATA" else _binary(events, fields, tag)
            notes = (*source.notes, *_further_tables(path))
            return replace(source, description=description, name=name, notes=notes)
        elif event == "start" and tag == "FITS":
            raise Unreadable("The VOTable has its rows in a FITS file; send the FITS file itself.")
        elif event == "end" and tag == "DATA":  # of another form, as astropy's votable.parquet; else it would be empty
            for form in filter(None, (_tag(child)[:40] for child in element)):
                if form != "INFO":
                    raise Unreadable(f"The VOTable has its rows as {form}; TABLEDATA, BINARY and BINARY2 are read.")
        elif event == "end" and tag == "TABLE":
            notes = (*_notes(fields), *_further_tables(path))
            return Source(_columns(fields, set()), iter(()), 0, description, name, notes)
    raise Unreadable("The VOTable has no table.")


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield starts and ends of elements.

    No entity of the document's own is expanded, nothing is fetched.
    """
    _check_prolog(path)
    try:
        with path.open("rb") as file:
            for event, element in etree.iterparse(  # noqa: TID251 -- nothing is filled in or fetched
                file,
                events=("start", "end"),
                tag=PARSED_TAGS,
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=True,
                remove_comments=True,
                remove_pis=True,
            ):
                if isinstance(element.tag, str):
                    yield event, element
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"The VOTable is not well-formed XML: {' '.join(str(error).split())[:200]}") from None


def _check_prolog(path: Path) -> None:
    """Refuse a document's own entities.

    They expand without a bound, or name files.
    """

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
    return _local(tag) if isinstance(tag, str) else ""


def _local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]


def _field(element: Any) -> Field:
    description = next((child.text or "" for child in element if _tag(child) == "DESCRIPTION"), "")
    null = next((child.get("null") for child in element if _tag(child) == "VALUES"), None)
    try:
        return field_of(element, " ".join(description.split()), null)
    except ValueError as error:
        raise Unreadable(f"The VOTable can't be read: {error}.") from None


def _columns(fields: Sequence[Field], wide: set[int]) -> tuple[Column, ...]:
    """Return the fields' columns, unicodeChar for those in ``wide``."""
    return tuple(
        replace(field.column, datatype="unicodeChar") if number in wide else field.column
        for number, field in enumerate(fields)
        if field.column is not None
    )


def _notes(fields: Sequence[Field]) -> tuple[str, ...]:
    return tuple(f"the column {field.name!r} is left out: {field.reason}" for field in fields if field.column is None)


def _further_tables(path: Path) -> tuple[str, ...]:
    """Return a note if the document has further tables; they are not parsed for it."""
    count, last = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            starts = [match.end() for match in _TABLE_START.finditer(last + chunk)]
            count += sum(end > len(last) for end in starts)
            last = (last + chunk)[-_TABLE_START_BYTES:]
            if count > 1:
                return (FIRST_ONLY,)
    return ()


def _tabledata(path: Path, events: Iterator[tuple[str, Any]], fields: Sequence[Field]) -> Source:
    # Nothing cuts the texts in TABLEDATA at their declared size, and documents often declare one that is too small.
    columns = tuple(
        replace(column, arraysize="*") if column.datatype in TEXTS else column
        for column in _columns(fields, _wide(path, fields))
    )
    return Source(columns, _batches(_rows(events, len(fields)), fields, columns), None, notes=_notes(fields))


def _wide(path: Path, fields: Sequence[Field]) -> set[int]:
    """Return columns of char with non-ASCII characters.

    Only a document that has any is read twice.
    """
    chars = {number for number, field in enumerate(fields) if field.datatype == "char" and field.column is not None}
    if not chars or _is_ascii(path):
        return set()
    events = _events(path)
    for event, element in events:
        if event == "start" and _tag(element) == "TABLEDATA":
            break
    wide: set[int] = set()
    for row in _rows(events, len(fields)):
        wide |= {number for number in chars - wide if not (row[number] or "").isascii()}
        if wide == chars:
            break
    return wide


def _is_ascii(path: Path) -> bool:
    """Return whether the document can hold ASCII only.

    Characters may be written as they are or by number (``&#``).
    """
    last = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if not chunk.isascii() or b"\0" in chunk or b"&#" in last + chunk:
                return False
            last = chunk[-1:]
    return True


def _rows(events: Iterator[tuple[str, Any]], width: int) -> Iterator[list[str | None]]:
    """Yield the texts of each row's cells."""
    count = 0
    for event, element in events:
        if event != "end":
            continue
        tag = _tag(element)
        if tag == "TR":
            cells = [cell for cell in element if _tag(cell) == "TD"]
            count += 1
            if len(cells) != width:
                raise Unreadable(f"Row {count} of the VOTable has {len(cells)} cells; the table has {width}.")
            if any(len(cell) or cell.get("encoding") for cell in cells):
                raise Unreadable(f"Row {count} of the VOTable has a cell with something else than text.")
            texts = [cell.text for cell in cells]
            element.clear()  # what has been read takes no memory any more
            while element.getprevious() is not None:
                del element.getparent()[0]
            yield texts
        elif tag == "TABLEDATA":
            return


def _batches(rows: Iterator[list[str | None]], fields: Sequence[Field], columns: Sequence[Column]) -> Iterator[Any]:
    schema = arrow_schema(columns)
    included = [(number, field) for number, field in enumerate(fields) if field.column is not None]
    pending: list[list[str | None]] = []
    size = 0
    for row in rows:
        pending.append(row)
        size += sum(len(text) for text in row if text)
        if len(pending) == BATCH_ROWS or size > BATCH_CHARACTERS:
            yield _batch(pending, included, columns, schema)
            pending, size = [], 0
    if pending:
        yield _batch(pending, included, columns, schema)


def _batch(
    rows: list[list[str | None]], included: Sequence[tuple[int, Field]], columns: Sequence[Column], schema: Any
) -> Any:
    arrays: list[Any] = []
    for (number, field), column in zip(included, columns, strict=True):
        texts = pa.array([row[number] for row in rows], pa.string())
        if field.datatype == "bit" and not field.scalar:
            # Bits may stand side by side, or with blanks between them.
            texts = pc.replace_substring_regex(texts, r"([01])\s*", r"\1 ")
        # Bytes are read as bytes, so that no other number passes for one, also where the column is wider.
        declared = replace(column, datatype=field.datatype) if field.datatype == "unsignedByte" else column
        arrays.append(typed(texts, declared, field.null).cast(schema.field(len(arrays)).type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _binary(events: Iterator[tuple[str, Any]], fields: Sequence[Field], tag: str) -> Source:
    for event, element in events:
        if _tag(element) != "STREAM":
            continue
        if any(_local(name).lower() == "href" for name in element.attrib):
            raise Unreadable("The VOTable has its rows at another place (STREAM href); send them inside it.")
        if event == "end":
            table = Table(_decoded(element), fields, flags=tag == "BINARY2")
            element.clear()
            columns = _columns(fields, table.wide())
            return Source(columns, table.batches(columns), len(table.offsets.rows), notes=_notes(fields))
    raise Unreadable("The VOTable has no rows in its STREAM.")


def _decoded(stream: Any) -> bytes:
    if (stream.get("encoding") or "base64") != "base64":
        raise Unreadable(f"The encoding {stream.get('encoding')!r} of the rows is not read; use base64.")
    if len(stream):
        raise Unreadable("The STREAM of the VOTable has elements in it.")
    try:
        return base64.b64decode(re.sub(r"\s+", "", stream.text or ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"The rows of the VOTable are not base64: {error}.") from None
