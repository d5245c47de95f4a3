"""One meaning of "missing" for all formats.

Formats differ in what they can say: BINARY has no null but NaN for floats (VOTable 1.4 §6), FITS no empty text that is
not null, CSV neither. So that one table gives the same rows whatever its format, NaN, the empty text, and an array
without any valid element are null everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uws_service.adql.model import Column
from uws_service.tap.readers import Unreadable
from uws_service.tap.types import fixed_size, is_array


def without_fillers(batch: Any, columns: Sequence[Column]) -> Any:
    """Return the batch with nulls in place of fillers.

    Raises
    ------
    Unreadable
        An array does not have the declared number of elements, or a text has a NUL.
    """
    arrays = [missing_as_null(array) for array in batch.columns]
    for array, column in zip(arrays, columns, strict=True):
        if pa.types.is_string(array.type) and pc.any(pc.match_substring(array, "\0")).as_py():
            raise Unreadable(f"A text of the column {column.name!r} has a NUL, which ends texts in other formats.")
        size = fixed_size(column) if is_array(column) else None
        if size is None:
            continue
        lengths = pc.list_value_length(array)
        mismatched = pc.not_equal(lengths, size)
        if pc.any(mismatched).as_py():
            raise Unreadable(
                f"A value of the column {column.name!r} has {lengths.filter(mismatched)[0]} elements; "
                f"{size} are declared."
            )
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def missing_as_null(array: Any) -> Any:
    """Return null for NaN, empty texts, and arrays without values."""
    kind = array.type
    if pa.types.is_floating(kind):
        empty = pc.is_nan(array)
    elif pa.types.is_string(kind):
        empty = pc.equal(pc.binary_length(array), 0)
    elif pa.types.is_list(kind):
        return _lists(array)
    else:
        return array
    if not pc.any(empty).as_py():
        return array
    return pc.if_else(empty, pa.scalar(None, kind), array)


def _lists(array: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    values = missing_as_null(array.flatten())
    present = np.concatenate([[0], np.cumsum(values.is_valid().to_numpy(zero_copy_only=False))])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    empty = present[offsets[1:]] == present[offsets[:-1]]
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), values, type=array.type, mask=pa.array(empty) if empty.any() else None
    )
