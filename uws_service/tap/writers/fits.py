"""FITS 4.0 binary tables (§7.3).

The rows pass through a temporary file, since their number and widths come first. Arrays of no fixed size lie in the
heap (§7.3.5). FITS knows ASCII only, so other characters become their nearest ASCII ones, or ``?``. Null integers, also
those in arrays, are a number that no row has, named by TNULL (§7.3.2).
"""

from __future__ import annotations

import tempfile
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.domain.errors import UwsError
from uws_service.tap.types import TEXTS, arrow_schema, arrow_type, fixed_size, is_array
from uws_service.tap.writers.base import Document, Rows
from uws_service.tap.writers.binary import BIG_ENDIAN
from uws_service.tap.writers.text import content

BLOCK_BYTES = 2880
_CODES = {"boolean": "L", "unsignedByte": "B", "short": "I", "int": "J", "long": "K", "float": "E", "double": "D"}
_INTEGERS = {"unsignedByte": (0, 255), "short": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1),
          "long": (-(2**63), 2**63 - 1)}  # fmt: skip
_WIDER = {"unsignedByte": "short", "short": "int", "int": "long"}
"""The next type of a column with nulls whose values take both ends of its own."""
_CANDIDATES = 4096
"""Numbers that are tried for the null of a column whose values take both ends of its type."""


@dataclass(slots=True)
class Shape:
    """Properties of a column's values.

    ``width`` is the longest text or array in elements; ``lowest``, ``highest`` and ``nulls`` count elements too.
    """

    width: int = 0
    lowest: int | None = None
    highest: int | None = None
    nulls: bool = False
    wide: bool = False
    """Whether a text has characters beyond ASCII."""

    def observe(self, array: Any, column: Column) -> None:
        """Take the next values into account."""
        if column.datatype in TEXTS:
            if pc.all(pc.string_is_ascii(array)).as_py() is False:
                self.wide = True  # some characters become several, such as "½"
                self.width = max(self.width, *(len(_ascii(text or "")) for text in array.to_pylist()))
            else:
                self.width = max(self.width, pc.max(pc.utf8_length(array)).as_py() or 0)
        if is_array(column):
            self.width = max(self.width, pc.max(pc.list_value_length(array)).as_py() or 0)
            # A missing array of no fixed size is an empty one; a fixed size is filled with nulls.
            self.nulls |= array.null_count > 0 and fixed_size(column) is not None
            array = array.flatten()
        self.nulls |= array.null_count > 0
        if column.datatype in _INTEGERS and len(array) > array.null_count:
            extremes = pc.min_max(array).as_py()
            self.lowest = extremes["min"] if self.lowest is None else min(self.lowest, extremes["min"])
            self.highest = extremes["max"] if self.highest is None else max(self.highest, extremes["max"])

    def null(self, column: Column) -> int | None:
        """Return a number for null that no row has.

        None if none is needed, or both ends of the type are taken.
        """
        if column.datatype not in _INTEGERS or not self.nulls:
            return None
        low, high = _INTEGERS[column.datatype]
        if self.lowest is None or self.lowest > low:
            return low
        return high if self.highest is not None and self.highest < high else None


def fits(document: Document, result: Rows) -> Iterator[bytes]:
    """Write the table as the first extension, in whole blocks."""
    shapes = [Shape() for _ in document.columns]
    with tempfile.TemporaryFile() as spool:
        with pa.ipc.new_stream(spool, arrow_schema(document.columns)) as writer:
            for batch in result:
                for array, column, shape in zip(batch.columns, document.columns, shapes, strict=True):
                    shape.observe(array, column)
                writer.write_batch(batch)
        columns = [FitsColumn(column, shape) for column, shape in zip(document.columns, shapes, strict=True)]
        for number, packed in enumerate(columns):
            if packed.lacks_null:
                packed.null = _free_number(spool, number, packed.column)
        yield _primary()
        size = result.count * sum(packed.width for packed in columns)
        heap = sum(packed.heap for packed in _measured(spool, columns))
        yield _header(document, columns, result, heap)
        heap_offset = 0
        for batch in _batches(spool):
            cells = []
            for array, packed in zip(batch.columns, columns, strict=True):
                cell, heap_offset = packed.cells(array, heap_offset)
                cells.append(cell)
            yield np.hstack(cells).tobytes() if cells else b""
        for batch in _batches(spool):
            for array, packed in zip(batch.columns, columns, strict=True):
                if packed.is_variable:
                    yield packed.elements(array.flatten())
        yield b"\0" * (-(size + heap) % BLOCK_BYTES)


def _batches(spool: Any) -> Iterator[Any]:
    spool.seek(0)
    with pa.ipc.open_stream(spool) as reader:
        yield from reader


def _free_number(spool: Any, number: int, column: Column) -> int:
    """Return a number that a column does not have, near the lower end of its type."""
    low = _INTEGERS[column.datatype][0]
    free = set(range(low, low + _CANDIDATES))
    for batch in _batches(spool):
        array = batch.column(number).flatten() if is_array(column) else batch.column(number)
        free -= set(array.filter(pc.less(array, low + _CANDIDATES)).unique().to_pylist())
    if not free:
        raise UwsError(
            f"The column {column.name!r} leaves no number for its missing values, as FITS needs; use VOTable."
        )
    return min(free)


def _measured(spool: Any, columns: Sequence[FitsColumn]) -> Sequence[FitsColumn]:
    """Return the columns with their sizes in the heap."""
    if any(column.is_variable for column in columns):
        for batch in _batches(spool):
            for array, column in zip(batch.columns, columns, strict=True):
                if column.is_variable:
                    column.heap += len(array.flatten()) * column.size
    return columns


class FitsColumn:
    """A column in FITS form.

    Parameters
    ----------
    column, shape
        What it is, and the properties of its values.
    """

    def __init__(self, column: Column, shape: Shape) -> None:
        self.null = shape.null(column)
        while self.null is None and shape.nulls and column.datatype in _WIDER:
            column = replace(column, datatype=_WIDER[column.datatype])
            self.null = shape.null(column)
        self.lacks_null = self.null is None and shape.nulls and column.datatype in _INTEGERS
        """Whether values are missing and both ends of the type are taken."""
        self.column = column
        self.wide = shape.wide
        self.heap = 0
        self.text = column.datatype in TEXTS
        fixed = fixed_size(column)
        self.is_variable = is_array(column) and fixed is None
        self.count = 1
        self.size = 1 if self.text or column.datatype == "boolean" else np.dtype(BIG_ENDIAN[column.datatype]).itemsize
        if self.text:
            self.count = max(fixed or 0, shape.width, 1)
            self.form = f"{self.count}A"
        elif self.is_variable:
            self.form = f"1Q{_CODES[column.datatype]}({shape.width})"
        else:
            self.count = fixed or 1
            self.form = f"{self.count}{_CODES[column.datatype]}"
        self.width = 16 if self.is_variable else self.count * self.size

    def cells(self, array: Any, heap_offset: int) -> tuple[Any, int]:
        """Return bytes (rows, width), and the heap offset after them."""
        if self.text:
            return self._text_cells(array), heap_offset
        if self.is_variable:
            lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
            begins = np.cumsum(lengths * self.size) - lengths * self.size + heap_offset
            pairs = np.column_stack([lengths, begins]).astype(">i8")
            return np.ascontiguousarray(pairs).view(np.uint8).reshape(-1, 16), heap_offset + int(
                lengths.sum()
            ) * self.size
        if pa.types.is_list(array.type):
            filler = [None] * self.count
            flat = pa.array(
                [value if value is not None else filler for value in array.to_pylist()], array.type
            ).flatten()
            return np.frombuffer(self.elements(flat), np.uint8).reshape(-1, self.width), heap_offset
        return np.frombuffer(self.elements(array), np.uint8).reshape(-1, self.width), heap_offset

    def _text_cells(self, array: Any) -> Any:
        if self.wide:
            words = [_ascii(value or "")[: self.count].ljust(self.count, b"\0") for value in array.to_pylist()]
            return np.frombuffer(b"".join(words), np.uint8).reshape(-1, self.width)
        # No value is longer than `count`, and each character is a byte.
        padded = pc.ascii_rpad(pc.fill_null(array, ""), width=self.count, padding="\0")
        return np.frombuffer(content(padded), np.uint8).reshape(-1, self.width)

    def elements(self, array: Any) -> bytes:
        """Encode single values."""
        if self.column.datatype == "boolean":
            values = array.to_numpy(zero_copy_only=False)
            letters = np.zeros(len(array), np.uint8)
            letters[values == True] = ord("T")  # noqa: E712 -- an array of objects where there are nulls
            letters[values == False] = ord("F")  # noqa: E712
            return letters.tobytes()
        kind = arrow_type(self.column)
        array = pc.cast(array, kind.value_type if pa.types.is_list(kind) else kind)
        filler = float("nan") if pa.types.is_floating(array.type) else (self.null or 0)
        values = pc.fill_null(array, pa.scalar(filler, array.type)).to_numpy(zero_copy_only=False)
        return bytes(values.astype(BIG_ENDIAN[self.column.datatype]).tobytes())


def _ascii(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    plain = "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )
    return plain.encode("ascii", "replace")


def _primary() -> bytes:
    return _cards([("SIMPLE", True, ""), ("BITPIX", 8, ""), ("NAXIS", 0, ""), ("EXTEND", True, "")])


def _header(document: Document, columns: Sequence[FitsColumn], result: Rows, heap: int) -> bytes:
    cards: list[tuple[str, Any, str]] = [
        ("XTENSION", "BINTABLE", ""),
        ("BITPIX", 8, ""),
        ("NAXIS", 2, ""),
        ("NAXIS1", sum(packed.width for packed in columns), "bytes of a row"),
        ("NAXIS2", result.count, "rows"),
        ("PCOUNT", heap, "bytes of the heap"),
        ("GCOUNT", 1, ""),
        ("TFIELDS", len(columns), ""),
    ]
    for number, packed in enumerate(columns, 1):
        column = packed.column
        cards += [(f"TTYPE{number}", column.name, ""), (f"TFORM{number}", packed.form, "")]
        cards += [(f"TUNIT{number}", column.unit, "")] if column.unit else []
        cards += [(f"TNULL{number}", packed.null, "")] if packed.null is not None else []
        cards += [(f"TCOMM{number}", column.description, "")] if column.description else []
        cards += [(f"TUCD{number}", column.ucd, "")] if column.ucd else []
    cards.append(("QSTATUS", "OVERFLOW" if result.overflow else "OK", "status of the query"))
    lossy = [packed.column.name for packed in columns if packed.wide]
    notes = [("NOTE", f"characters beyond ASCII are replaced in {', '.join(lossy)}; other formats have them")]
    for name, text in (*document.infos, *(notes if lossy else [])):
        cards += [("COMMENT", line, "") for line in textwrap.wrap(_printable(f"{name}: {text}"), 72)]
    return _cards(cards)


def _cards(cards: Sequence[tuple[str, Any, str]]) -> bytes:
    lines = [_card(*card) for card in cards]
    text = "".join(line.ljust(80) for line in [*lines, "END"])
    return text.ljust(-(-len(text) // BLOCK_BYTES) * BLOCK_BYTES).encode("ascii")


def _printable(text: str) -> str:
    return "".join(character for character in _ascii(text).decode() if " " <= character <= "~")


def _card(name: str, value: Any, comment: str) -> str:
    if name == "COMMENT":
        return f"{name} {value}"
    if isinstance(value, bool):
        text = ("T" if value else "F").rjust(20)
    elif isinstance(value, int):
        text = str(value).rjust(20)
    else:
        printable = _printable(str(value)).replace("'", "''")
        shortened = printable[:68]
        shortened = (
            shortened[:-1]
            if shortened.endswith("'") and (len(shortened) - len(shortened.rstrip("'"))) % 2
            else shortened
        )
        text = f"'{shortened.ljust(8)}'"
    line = f"{name.ljust(8)}= {text}"
    return f"{line} / {comment}" if comment and len(line) + len(comment) < 77 else line
