"""CSV and ECSV, with declared or inferred types."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from uws_service.adql.model import Column
from uws_service.tap.readers import Source, Unreadable, check_column_count
from uws_service.tap.readers.ecsv import Declared, Head, read_head
from uws_service.tap.readers.text_values import INTEGERS, typed
from uws_service.tap.readers.type_inference import TypeInference
from uws_service.tap.types import TEXTS, arrow_schema, arrow_type

SEPARATORS = ",\t;|"
BLOCK_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
csv.field_size_limit(1 << 30)  # a cell has the bound of its file
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows of a text file begin, and how they are written."""

    path: Path
    encoding: str
    skipped: int
    """Lines before the first row."""
    names: tuple[str, ...]
    separator: str
    empty: bool = False
    """Whether nothing follows the line of names."""


def read(path: Path) -> Source:
    """Open a table.

    Detect the separator unless it is declared.
    """
    encoding = _encoding(path)
    comments = _comments(path, encoding)
    head = None
    if comments and comments[0].startswith("%ECSV"):
        head = read_head("\n".join(line for line in comments[1:] if line.strip() != "---"))
    layout = _layout(path, encoding, comments, head)
    _check_quotes(layout)
    source = _declared(layout, head) if head else _inferred(layout)
    if encoding in ("iso8859-1", "cp1252"):
        note = f"the text is no UTF-8, and is read as {'ISO 8859-1' if encoding == 'iso8859-1' else 'windows-1252'}"
        source = replace(source, notes=(note, *source.notes))
    return source


def _encoding(path: Path) -> str:
    """Detect the encoding from all bytes.

    ASCII, UTF-8, UTF-16 with its mark, or one of the two of Western Europe.
    """
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
    encodings = ["ascii", "utf-8", "iso8859-1", "cp1252"]
    decoders = [codecs.getincrementaldecoder(encoding)() for encoding in encodings]
    with path.open("rb") as file:
        while encodings:
            chunk = file.read(_CHUNK_BYTES)
            try:
                text = decoders[0].decode(chunk, final=not chunk)
                if encodings[0] == "iso8859-1" and re.search("[\x80-\x9f]", text):
                    raise UnicodeError("control characters")
            except UnicodeError:
                del encodings[0], decoders[0]
                file.seek(0)
                continue
            if not chunk:
                return encodings[0]
    raise Unreadable("The table is no text in UTF-8, ISO 8859-1 or windows-1252.")


def _opened(path: Path, encoding: str) -> Any:
    return path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")


def _comments(path: Path, encoding: str) -> list[str]:
    """Return the leading comment lines without their sign."""
    lines = []
    with _opened(path, encoding) as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line[1:].removeprefix(" ").rstrip("\r\n"))
    return lines


def _layout(path: Path, encoding: str, comments: Sequence[str], head: Head | None) -> Layout:
    with _opened(path, encoding) as file:
        first = next((line for line in itertools.islice(file, len(comments), None) if line.strip()), "")
    separator = head.delimiter if head else _separator(first)
    check_column_count(1 + first.count(separator))
    with _opened(path, encoding) as file:
        reader = csv.reader(itertools.islice(file, len(comments), None), delimiter=separator)
        cells = next((row for row in reader if any(cell.strip() for cell in row)), [])
        skipped = len(comments) + reader.line_num
        empty = next(reader, None) is None
    if not cells:
        raise Unreadable("The table has no line of names.")
    check_column_count(len(cells))
    if head is None and all(_NUMBER.fullmatch(cell) for cell in cells):
        # The line of names may be a comment, as numpy.savetxt writes it.
        names = next(csv.reader([comments[-1]], delimiter=separator), []) if comments else []
        if len(names) != len(cells) or all(_NUMBER.fullmatch(name) for name in names):
            raise Unreadable("The first line of the table holds numbers; put a line with the columns' names before it.")
        return Layout(path, encoding, len(comments), tuple(names), separator)
    return Layout(path, encoding, skipped, tuple(cells), separator, empty)


def _check_quotes(layout: Layout) -> None:
    """Refuse a quoted value that runs over lines without a proper end.

    It would swallow the rows behind it.
    """
    with layout.path.open("rb") as file:
        if not any(b'"' in chunk for chunk in iter(lambda: file.read(_CHUNK_BYTES), b"")):
            return
    last = [""]

    def remembered(lines: Any) -> Iterator[str]:
        for line in lines:
            last[0] = line
            yield line

    with _opened(layout.path, layout.encoding) as file:
        rest = itertools.islice(file, layout.skipped, None)
        reader = csv.reader(remembered(rest), delimiter=layout.separator, strict=True)
        while True:
            before = reader.line_num
            try:
                if next(reader, None) is None:
                    return
            except csv.Error:
                if reader.line_num - before > 1 or last[0].count('"') % 2:
                    number = layout.skipped + before + 1
                    raise Unreadable(f"Line {number} of the table has a quote that is not closed properly.") from None


def _separator(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)


def _texts(layout: Layout) -> Iterator[Any]:
    """Yield batches of cells as texts.

    An empty cell is null, in quotes or not.
    """
    if layout.empty:
        return
    names = [str(number) for number in range(len(layout.names))]
    read_options = pyarrow.csv.ReadOptions(
        skip_rows=layout.skipped,
        column_names=names,
        block_size=BLOCK_BYTES,
        encoding="utf8" if layout.encoding == "ascii" else layout.encoding,
    )
    parse_options = pyarrow.csv.ParseOptions(delimiter=layout.separator, newlines_in_values=True)
    convert_options = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    try:
        with pyarrow.csv.open_csv(layout.path, read_options, parse_options, convert_options) as batches:
            for batch in batches:
                if batch.num_rows:
                    yield batch
    except pa.ArrowInvalid as error:
        message = " ".join(str(error).split())[:200]
        if "Empty CSV" not in message:  # only a line of names
            raise Unreadable(f"The table can't be read as CSV: {message}") from None


def _inferred(layout: Layout) -> Source:
    inferences = [TypeInference() for _ in layout.names]
    rows = 0
    for batch in _texts(layout):
        rows += batch.num_rows
        for inference, texts in zip(inferences, batch.columns, strict=True):
            inference.observe(texts)
    described = [inference.column(name) for inference, name in zip(inferences, layout.names, strict=True)]
    columns = tuple(column for column, _ in described)
    notes = tuple(f"the column {column.name!r} is read as text: {reason}" for column, reason in described if reason)
    return Source(columns, _inferred_batches(layout, inferences, columns), rows, notes=notes)


def _inferred_batches(
    layout: Layout, inferences: Sequence[TypeInference], columns: tuple[Column, ...]
) -> Iterator[Any]:
    schema = arrow_schema(columns)
    for batch in _texts(layout):
        arrays = [
            typed(inference.words(texts), column)
            for inference, texts, column in zip(inferences, batch.columns, columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _declared(layout: Layout, head: Head) -> Source:
    names = tuple(declared.name for declared in head.columns)
    if names != layout.names:
        raise Unreadable(
            f"The head of the ECSV declares the columns {', '.join(names)[:200]}; its line of names has "
            f"{', '.join(layout.names)[:200]}."
        )
    notes = [
        f"the column {declared.name!r} is left out: {declared.reason}"
        for declared in head.columns
        if declared.column is None
    ]
    columns, included = [], []
    wide, beyond, incomplete = _look_ahead(layout, head.columns)
    for number, declared in enumerate(head.columns):
        if declared.column is None:
            continue
        column = declared.column
        if number in wide:
            column = replace(column, datatype="unicodeChar")
        if number in incomplete:
            column = replace(column, datatype="short")  # a missing byte in an array has no form in VOTable
        if number in beyond:
            column = replace(column, datatype="char", arraysize="*")
            notes.append(
                f"the column {declared.name!r} is read as text: some of its whole numbers have more than 63 bits"
            )
        columns.append(column)
        included.append((number, declared))
    columns_read = tuple(columns)
    return Source(columns_read, _declared_batches(layout, included, columns_read), notes=tuple(notes))


def _look_ahead(layout: Layout, declared: Sequence[Declared]) -> tuple[set[int], set[int], set[int]]:
    """Find columns with non-ASCII texts, numbers beyond 63 bits, missing bytes in arrays."""
    texts = {n for n, column in enumerate(declared) if column.column is not None and column.column.datatype in TEXTS}
    unsigned = {n for n, column in enumerate(declared) if column.unsigned and not column.json}
    byte_arrays = {n for n, column in enumerate(declared) if column.json and _is_bytes(column)}
    if layout.encoding == "ascii":
        texts = set()
    wide: set[int] = set()
    beyond: set[int] = set()
    incomplete: set[int] = set()
    for batch in _texts(layout) if texts or unsigned or byte_arrays else ():
        incomplete |= {
            n for n in byte_arrays - incomplete if pc.any(pc.match_substring(batch.column(n), "null")).as_py()
        }
        wide |= {n for n in texts - wide if pc.all(pc.string_is_ascii(batch.column(n))).as_py() is False}
        for number in unsigned - beyond:
            inference = TypeInference()
            inference.observe(batch.column(number))
            if inference.beyond_long:
                beyond.add(number)
    return wide, beyond, incomplete


def _is_bytes(declared: Declared) -> bool:
    return declared.column is not None and declared.column.datatype == "unsignedByte"


def _declared_batches(
    layout: Layout, included: Sequence[tuple[int, Declared]], columns: tuple[Column, ...]
) -> Iterator[Any]:
    schema = arrow_schema(columns)
    for batch in _texts(layout):
        arrays = []
        for (number, declared), column in zip(included, columns, strict=True):
            texts = batch.column(number)
            if declared.json:
                assert declared.column is not None
                arrays.append(_json_arrays(texts, declared.column).cast(arrow_type(column)))
            else:
                arrays.append(typed(_pairs(texts) if declared.complex else texts, column))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _json_arrays(texts: Any, column: Column) -> Any:
    """Parse arrays in JSON; flatten nested ones."""
    values = []
    whole = column.datatype in INTEGERS
    for text in texts.to_pylist():
        try:
            values.append(None if text is None else list(_flattened(json.loads(text))))
        except (ValueError, TypeError):
            raise Unreadable(f"A value of the column {column.name!r} is no array in JSON: {text[:80]!r}.") from None
        if whole and any(isinstance(element, float | bool) for element in values[-1] or ()):  # Arrow would cut it
            raise Unreadable(f"A value of the column {column.name!r} is no array of {column.datatype}: {text[:80]!r}.")
    try:
        return pa.array(values, arrow_type(column))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        message = " ".join(str(error).split())[:120]
        raise Unreadable(
            f"A value of the column {column.name!r} is no array of {column.datatype}: {message}."
        ) from None


def _flattened(value: Any) -> Iterator[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    for element in value:
        if isinstance(element, list):
            yield from _flattened(element)
        else:
            yield element


def _pairs(texts: Any) -> Any:
    """Convert Python's complex numbers to pairs of numbers."""
    pairs = []
    for text in texts.to_pylist():
        try:
            number = None if text is None else complex(text)
        except ValueError:
            raise Unreadable(f"A value is no complex number: {text[:80]!r}.") from None
        pairs.append(None if number is None else f"{number.real!r} {number.imag!r}")
    return pa.array(pairs, pa.string())
