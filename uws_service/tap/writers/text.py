"""Values as text, a batch at a time.

TABLEDATA, CSV and TSV have this in common; there is no loop over rows.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def texts(array: Any, null: str = "", element: str = "null") -> Any:
    """Format values as VOTable and DALI do.

    Null as ``null``.

    An array is numbers with spaces between them. ``element`` stands for a missing integer in it; a float is NaN there,
    and a boolean ``?``.
    """
    kind = array.type
    if pa.types.is_string(kind):
        words = array
    elif pa.types.is_boolean(kind):
        words = pc.if_else(array, "true", "false")
    elif pa.types.is_floating(kind):
        words = _floats(array)
    elif pa.types.is_list(kind):
        # `flatten` drops values behind null lists.
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        missing = "NaN" if pa.types.is_floating(kind.value_type) else element
        inner = texts(array.flatten(), "?" if pa.types.is_boolean(kind.value_type) else missing)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, inner), " ")
        words = pc.if_else(pc.is_valid(array), joined, pa.scalar(None, pa.string())) if array.null_count else joined
    else:
        words = pc.cast(array, pa.string())
    return pc.fill_null(words, null) if words.null_count else words


def _floats(array: Any) -> Any:
    """Format floats in the shortest exact form.

    NaN and infinities are written as VOTable does.
    """
    text = pc.cast(array, pa.string())
    if pc.all(pc.is_finite(array)).as_py() is False:
        text = pc.if_else(pc.is_nan(array), "NaN", text)
        text = pc.if_else(pc.is_inf(array), pc.if_else(pc.greater(array, 0), "+Inf", "-Inf"), text)
    return text


def rows(columns: list[Any], before: str, between: str, after: str) -> bytes:
    """Join the values of each row between ``before`` and ``after``."""
    if not columns or not len(columns[0]):
        return b""
    joined = pc.binary_join_element_wise(*columns, between) if len(columns) > 1 else columns[0]
    framed = pc.binary_join_element_wise(before, joined, after, "")
    return content(framed)


def content(array: Any) -> bytes:
    """Return an array's texts joined, straight from its buffer."""
    if pa.types.is_large_string(array.type):
        array = pc.cast(array, pa.string())
    _, offsets, data = array.buffers()
    if data is None:
        return b""
    starts = memoryview(offsets).cast("i")
    return bytes(memoryview(data)[starts[array.offset] : starts[array.offset + len(array)]])


def escaped(array: Any, pairs: tuple[tuple[str, str], ...]) -> Any:
    """Replace words in texts, by (old, new) pairs."""
    for old, new in pairs:
        array = pc.replace_substring(array, old, new)
    return array
