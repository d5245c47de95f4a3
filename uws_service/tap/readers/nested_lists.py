"""Lists of lists in Parquet, flattened as VOTable's arrays are here.

Only regular ones are: all inner lists of a level have the same length. The shape of others would be lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def is_list(kind: Any) -> bool:
    """Return whether an Arrow type is a list of any kind."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_nested(kind: Any) -> bool:
    """Return whether an Arrow type is a list of lists."""
    return is_list(kind) and is_list(kind.value_type)


def flat_type(kind: Any, arrays: Iterable[Any]) -> Any:
    """Return the type of the flattened lists.

    ValueError if they are irregular.
    """
    shapes = {shape for array in arrays if (shape := _inner_shape(array)) is not None}
    if len(shapes) > 1:
        raise ValueError("its inner lists differ in length")
    leaf = kind
    while is_list(leaf):
        leaf = leaf.value_type
    if pa.types.is_fixed_size_list(kind) and shapes:
        return pa.list_(leaf, kind.list_size * math.prod(shapes.pop()))
    return pa.list_(leaf)


def flattened(array: Any) -> Any:
    """Return lists of lists as lists of their innermost values."""
    factor = math.prod(_inner_shape(array) or ())
    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0]), pc.cumulative_sum(pc.multiply(lengths, factor))]).cast(pa.int32())
    values = leaves(array)
    mask = pc.is_null(array) if array.null_count else None
    return pa.ListArray.from_arrays(offsets, values, mask=mask)


def leaves(array: Any) -> Any:
    """Return the innermost values of lists, one after the other."""
    while is_list(array.type):
        array = array.flatten()
    return array


def _inner_shape(array: Any) -> tuple[int, ...] | None:
    """Return the lengths of inner lists by level.

    None if there is no inner list.
    """
    values, shape = array.flatten(), []
    if not len(values):
        return None
    while is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if None in lengths:
            raise ValueError("some of its inner lists are missing")
        if len(lengths) > 1:
            raise ValueError("its inner lists differ in length")
        shape.append(int(lengths[0]) if lengths else 0)
        values = values.flatten()
    return tuple(shape)
