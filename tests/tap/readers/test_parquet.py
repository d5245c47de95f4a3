"""Parquet: exotic types without loss, and decompression bombs."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.tap.readers.tables import rows_of
from uws_service.domain.errors import UsageError
from uws_service.tables import read_arrow
from uws_service.tap.readers import read_table


@pytest.mark.parametrize(
    ("values", "datatype", "expected"),
    [
        (pa.array([1, 2**63 + 5], pa.uint64()), "char", ["1", str(2**63 + 5)]),
        (pa.array([1, 2**63 - 1], pa.uint64()), "long", [1, 2**63 - 1]),
        (pa.array([Decimal("1.10"), None]), "double", [1.1, None]),
        (pa.array([Decimal(2**63 + 5), None], pa.decimal128(38, 0)), "char", [str(2**63 + 5), None]),
        (pa.array([Decimal(7), None], pa.decimal128(38, 0)), "long", [7, None]),
        (pa.array([Decimal("1.1234567890123456789"), None]), "char", ["1.1234567890123456789", None]),
        (pa.array([1, 1000], pa.timestamp("ns")), "char",
         ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000001"]),
        (pa.array([1000, None], pa.timestamp("ns")), "timestamp", ["1970-01-01T00:00:00.000001", None]),
        (pa.array([0, None], pa.timestamp("s", "Europe/Berlin")), "timestamp", ["1970-01-01T00:00:00", None]),
        (pa.array([datetime.time(1, 2, 3), None]), "char", ["01:02:03.000000", None]),
        (pa.array(["é", ""]), "unicodeChar", ["é", None]),
        (pa.array(["é", "a"]).dictionary_encode(), "unicodeChar", ["é", "a"]),
        (pa.array(["a", None], pa.large_string()), "char", ["a", None]),
        (pa.array([float("nan"), 1.0]), "double", [None, 1.0]),
        (pa.array([[float("nan"), 1.0], []]), "double", [[None, 1.0], None]),
        (pa.array([b"\x01\x02", None]), "unsignedByte", [[1, 2], None]),
    ],
)  # fmt: skip
def test_types(tmp_path: Path, values: Any, datatype: str, expected: list[Any]) -> None:
    """Numbers beyond every type become texts, with a note."""
    pyarrow.parquet.write_table(pa.table({"v": values}), tmp_path / "t")
    source = read_table(tmp_path / "t")
    column = source.columns[0]
    assert (column.xtype or column.datatype) == datatype
    assert [row[0] for row in rows_of(source)] == expected
    numbers = not (pa.types.is_string(values.type) or pa.types.is_time(values.type)
                   or pa.types.is_large_string(values.type))  # fmt: skip
    assert bool(source.notes) is (numbers and datatype == "char")


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (pa.array([[[1.0, 2.0], [3.0, None]], None, [[5.0, 6.0]]]), ("double", "*"), [[1, 2, 3, None], None, [5, 6]]),
        (pa.array([[[[1], [2]]], [[[3], [4]], [[5], [6]]]]), ("long", "*"), [[1, 2], [3, 4, 5, 6]]),
        (pa.array([[[1, 2]] * 2, None], pa.list_(pa.list_(pa.int16(), 2), 2)), ("short", "4"), [[1, 2, 1, 2], None]),
        (pa.array([[[1, 2]], []], pa.large_list(pa.large_list(pa.int32()))), ("int", "*"), [[1, 2], None]),
        (pa.array([[[1], [None]]], pa.list_(pa.list_(pa.uint8()))), ("short", "*"), [[1, None]]),
        (pa.array([[1, None], [255, 0]], pa.list_(pa.uint8())), ("short", "*"), [[1, None], [255, 0]]),
        (pa.array([[1, 2], None], pa.list_(pa.uint8())), ("unsignedByte", "*"), [[1, 2], None]),
    ],
)
def test_arrays(tmp_path: Path, values: Any, column: tuple[str, str], expected: list[Any]) -> None:
    """Lists of lists become flat, missing bytes shorts."""
    pyarrow.parquet.write_table(pa.table({"v": values}), tmp_path / "t", row_group_size=1)
    source = read_table(tmp_path / "t")
    assert [(field.datatype, field.arraysize) for field in source.columns] == [column] and not source.notes
    assert [row[0] for row in rows_of(source)] == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[[1, 2], [3]]], "its inner lists differ in length"),
        ([[[1, 2]], [[3]]], "its inner lists differ in length"),
        ([[[1, 2], None]], "some of its inner lists are missing"),
        ([[["a"], ["b"]]], "arrays of texts"),
    ],
)
def test_irregular_lists_are_left_out(tmp_path: Path, values: list[Any], reason: str) -> None:
    """Their shape would be lost, so a note says why."""
    pyarrow.parquet.write_table(pa.table({"id": range(len(values)), "v": values}), tmp_path / "t", row_group_size=1)
    source = read_table(tmp_path / "t")
    assert rows_of(source) == [(number,) for number in range(len(values))]
    assert len(source.notes) == 1 and f"the column 'v' is left out: {reason}" in source.notes[0]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    """Records, durations, arrays of texts are left out.

    The other columns are read.
    """
    table = pa.table({"s": [{"a": 1}], "d": pa.array([1], pa.duration("s")), "t": [["a", "b"]], "id": [7]})
    pyarrow.parquet.write_table(table, tmp_path / "t")
    source = read_table(tmp_path / "t")
    assert rows_of(source) == [(7,)]
    assert [note.split(":")[0] for note in source.notes] == [f"the column '{name}' is left out" for name in "sdt"]


def bomb(path: Path) -> Path:
    """Write ten kilobytes that unpack to 36 gigabytes."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 60_000, pa.int32()), pa.array(["x" * 30_000]))
    pyarrow.parquet.write_table(pa.table({f"a{number}": texts for number in range(20)}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    return path


def test_texts_that_are_much_more_inside(tmp_path: Path) -> None:
    """Refused before unpacking, and without a gigabyte of memory."""
    bomb(tmp_path / "t")
    code = (
        "import re, sys; from uws_service.tables import main; code = main();"
        # Of this program alone: what `getrusage` tells may be of the process that started it.
        " print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t"), "--output", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 2 and "more memory than there is" in process.stderr and process.stderr.count("\n") == 1
    assert int(process.stdout) * 1024 < 800 << 20


def test_bounds_of_a_program(tmp_path: Path) -> None:
    """A program sets limits on rows and bytes."""
    pyarrow.parquet.write_table(pa.table({"a": list(range(1000))}), tmp_path / "t")
    assert read_arrow(tmp_path / "t", max_rows=1000).rows.num_rows == 1000
    with pytest.raises(UsageError, match="more than 999 rows"):
        read_arrow(tmp_path / "t", max_rows=999)
    with pytest.raises(UsageError, match="more than 4000 bytes"):
        read_arrow(tmp_path / "t", max_bytes=4000)
