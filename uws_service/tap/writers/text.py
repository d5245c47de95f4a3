"""Values as text, a batch at a time and without a loop over rows: what TABLEDATA, CSV and TSV have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def texts(array: Any, null: str = "", element: str = "null") -> Any:
    """Each value as VOTable and DALI write it; arrays as numbers with spaces between them, null as ``null``.

    ``element`` stands for a missing whole number in an array; a float is NaN there, and a truth value ``?``.
    """
    kind = array.type
    if pa.types.is_string(kind):
        found = array
    elif pa.types.is_boolean(kind):
        found = pc.if_else(array, "true", "false")
    elif pa.types.is_floating(kind):
        found = _floats(array)
    elif pa.types.is_list(kind):
        # What a null list's place holds in the values is cut away by `flatten`.
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        missing = "NaN" if pa.types.is_floating(kind.value_type) else element
        inner = texts(array.flatten(), "?" if pa.types.is_boolean(kind.value_type) else missing)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, inner), " ")
        found = pc.if_else(pc.is_valid(array), joined, pa.scalar(None, pa.string())) if array.null_count else joined
    else:
        found = pc.cast(array, pa.string())
    return pc.fill_null(found, null) if found.null_count else found


def _floats(array: Any) -> Any:
    """The shortest text that reads back as the same number; NaN and infinities in VOTable's words."""
    text = pc.cast(array, pa.string())
    if pc.all(pc.is_finite(array)).as_py() is False:
        text = pc.if_else(pc.is_nan(array), "NaN", text)
        text = pc.if_else(pc.is_inf(array), pc.if_else(pc.greater(array, 0), "+Inf", "-Inf"), text)
    return text


def rows(columns: list[Any], before: str, between: str, after: str) -> bytes:
    """The batch as text: ``before``, the values with ``between`` them, and ``after``, for each row."""
    if not columns or not len(columns[0]):
        return b""
    joined = pc.binary_join_element_wise(*columns, between) if len(columns) > 1 else columns[0]
    framed = pc.binary_join_element_wise(before, joined, after, "")
    return content(framed)


def content(array: Any) -> bytes:
    """All texts of an array one after the other: they lie so in its buffer."""
    if pa.types.is_large_string(array.type):
        array = pc.cast(array, pa.string())
    _, offsets, data = array.buffers()
    if data is None:
        return b""
    starts = memoryview(offsets).cast("i")
    return bytes(memoryview(data)[starts[array.offset] : starts[array.offset + len(array)]])


def escaped(array: Any, pairs: tuple[tuple[str, str], ...]) -> Any:
    """Texts with each left word replaced by its right one; arrays that hold none of them are left as they are."""
    for old, new in pairs:
        array = pc.replace_substring(array, old, new)
    return array


Escape = Callable[[Any], Any]
