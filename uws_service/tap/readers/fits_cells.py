"""Values of a FITS column, from bytes to Arrow (FITS 4.0 §7.3.3, §7.3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from uws_service.tap.readers import Unreadable
from uws_service.tap.readers.binary import text_of

STORED = {"L": "u1", "X": "u1", "B": "u1", "A": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8",
          "C": ">f4", "M": ">f8"}  # fmt: skip
BITS = "X"
_LIMITS = {"B": (0, 255), "I": (-(2**15), 2**15 - 1), "J": (-(2**31), 2**31 - 1), "K": (-(2**63), 2**63 - 1)}
_INTEGERS = (("short", -(2**15), 2**15 - 1), ("int", -(2**31), 2**31 - 1), ("long", -(2**63), 2**63 - 1))
_STEP_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A column's layout in its table.

    ``pointer`` is P or Q if its values are in the heap.
    """

    name: str
    code: str
    count: int
    pointer: str
    offset: int
    scale: float
    zero: float
    null: int | None
    texts: bool

    @property
    def width(self) -> int:
        """Return the bytes of the column in each row."""
        if self.pointer:
            return self.count * (8 if self.pointer == "P" else 16)
        return int(self.bytes_of(self.count))

    def bytes_of(self, count: Any) -> Any:
        """Return the bytes of so many elements."""
        if self.code == BITS:
            return (count + 7) // 8
        return count * np.dtype(STORED[self.code]).itemsize * (2 if self.code in "CM" else 1)

    @property
    def shift(self) -> int | None:
        """Return the offset of shifted integers.

        None if they are scaled in another way.
        """
        if self.code not in _LIMITS or self.scale != 1 or self.zero != int(self.zero):
            return None
        return int(self.zero)

    @property
    def becomes(self) -> str:
        """Return the datatype that scaling leads to, or an empty text."""
        if self.code not in (*_LIMITS, "E", "D", "C", "M") or (self.scale == 1 and self.zero == 0):
            return ""
        shift = self.shift
        if shift is None:
            return "double"
        low, high = (limit + shift for limit in _LIMITS[self.code])
        return next((name for name, lower, upper in _INTEGERS if lower <= low and high <= upper), "long")


class Values:
    """A column's values, from the rows and the heap."""

    def __init__(self, stored: Stored, table: Any, heap: Any) -> None:
        self.stored, self.table, self.heap = stored, table, heap
        self._as_text = False
        if stored.pointer:
            self._check_heap()

    def _raw(self, begin: int, end: int) -> Any:
        offset = self.stored.offset
        return np.ascontiguousarray(self.table[begin:end, offset : offset + self.stored.width])

    def _pointers(self, begin: int, end: int) -> tuple[Any, Any]:
        """Return counts of elements and their offsets in the heap."""
        kind = ">i4" if self.stored.pointer == "P" else ">i8"
        pairs = self._raw(begin, end).view(kind).reshape(-1, 2).astype(np.int64)
        return pairs[:, 0], pairs[:, 1]

    def _steps(self) -> Iterator[tuple[int, int]]:
        step = max(1, min(_STEP_ROWS, (16 << 20) // max(self.stored.width, 1)))
        for begin in range(0, len(self.table), step):
            yield begin, min(begin + step, len(self.table))

    def _check_heap(self) -> None:
        """Check that arrays lie in the heap and do not overlap."""
        total = 0.0
        for begin, end in self._steps():
            counts, places = self._pointers(begin, end)
            lengths = self.stored.bytes_of(counts.astype(float) if self.stored.code != BITS else counts)
            total += float(lengths.sum(dtype=float))
            if counts.min() < 0 or places.min() < 0 or (places + lengths).max() > len(self.heap):
                total = np.inf
            if total > len(self.heap):
                raise Unreadable(f"The arrays of the column {self.stored.name!r} do not lie in the FITS file.")

    def _elements(self, begin: int, end: int) -> tuple[Any, Any]:
        """Return the stored elements of some rows, and each row's count."""
        stored = self.stored
        if not stored.pointer:
            raw = self._raw(begin, end)
            return raw.reshape(-1).view(STORED[stored.code]), np.full(end - begin, stored.count, np.int64)
        counts, places = self._pointers(begin, end)
        ends = places + stored.bytes_of(counts)
        joined = b"".join(self.heap[a:b].tobytes() for a, b in zip(places.tolist(), ends.tolist(), strict=True))
        return np.frombuffer(joined, STORED[stored.code]), counts

    def is_wide(self) -> bool:
        """Return whether a text has non-ASCII bytes."""
        return any((self._elements(begin, end)[0] > 127).any() for begin, end in self._steps())

    def beyond_long(self) -> bool:
        """Return whether shifted numbers exceed 63 bits.

        If so, they are texts from then on.
        """
        shift = self.stored.shift
        if not shift or self.stored.becomes != "long":
            return False
        low, high = _LIMITS[self.stored.code]
        if low + shift >= -(2**63) and high + shift < 2**63:
            return False
        for begin, end in self._steps():
            values = self._elements(begin, end)[0]
            if self.stored.null is not None:
                values = values[values != self.stored.null]
            if len(values) and not (int(values.min()) + shift >= -(2**63) and int(values.max()) + shift < 2**63):
                self._as_text = True
                return True
        return False

    def array(self, begin: int, end: int, kind: Any) -> Any:
        """Return some rows as an Arrow array."""
        if self.stored.code == "A":
            return self._texts(begin, end)
        if self._as_text:
            return self._digits(begin, end)
        elements, counts = self._elements(begin, end)
        if not pa.types.is_list(kind):
            return self._numbers(elements if self.stored.code != BITS else elements >> 7, kind)
        if self.stored.code == BITS:
            elements = self._bits(elements, counts)
        values = self._numbers(elements, kind.value_type)
        lengths = counts * (2 if self.stored.code in "CM" else 1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)

    def _numbers(self, elements: Any, kind: Any) -> Any:
        stored = self.stored
        if stored.code == "L":
            return pa.array(elements == ord("T"), mask=(elements != ord("T")) & (elements != ord("F")))
        if stored.code == BITS:
            return pa.array(elements.astype(bool))
        mask = elements == stored.null if stored.null is not None else None
        native = elements.astype(elements.dtype.newbyteorder("="))
        if stored.becomes:
            shift = stored.shift
            if shift is None:
                native = native.astype(np.float64) * float(stored.scale) + float(stored.zero)
            else:  # in 64 bits that wrap, since the sums fit
                shifted = native.astype(np.int64).view(np.uint64) + np.uint64(shift % 2**64)
                native = shifted.view(np.int64)
                if mask is not None:
                    native[mask] = 0
        return pa.array(native, mask=mask).cast(kind)

    def _bits(self, elements: Any, counts: Any) -> Any:
        """Unpack bits, the first one highest.

        Each row begins a byte.
        """
        if not self.stored.pointer:
            packed = elements.reshape(len(counts), -1)
            return np.unpackbits(packed, axis=1)[:, : self.stored.count].reshape(-1)
        ends = np.cumsum((counts + 7) // 8)
        parts = [
            np.unpackbits(elements[finish - (count + 7) // 8 : finish])[:count]
            for finish, count in zip(ends.tolist(), counts.tolist(), strict=True)
        ]
        return np.concatenate(parts) if parts else elements

    def _texts(self, begin: int, end: int) -> Any:
        """Return texts up to the first NUL, without trailing blanks."""
        elements, counts = self._elements(begin, end)
        if self.stored.pointer:
            ends = np.cumsum(counts)
            content = elements.tobytes()
            cells = [content[b - n : b] for b, n in zip(ends.tolist(), counts.tolist(), strict=True)]
        else:
            cells = elements.view(f"S{self.stored.count}").tolist()
        return pa.array([text_of(cell.partition(b"\0")[0]).rstrip(" ") for cell in cells], pa.string())

    def _digits(self, begin: int, end: int) -> Any:
        shift, null = self.stored.shift or 0, self.stored.null
        elements, counts = self._elements(begin, end)
        words = [None if element == null else str(element + shift) for element in elements.tolist()]
        if not self.stored.pointer and self.stored.count == 1:
            return pa.array(words, pa.string())
        ends = np.cumsum(counts).tolist()
        return pa.array(
            [" ".join(word or "" for word in words[b - n : b]) for b, n in zip(ends, counts.tolist(), strict=True)],
            pa.string(),
        )
