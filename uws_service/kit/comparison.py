"""Whether a result is what is expected: tables, FITS, JSON and pictures by their values, anything else byte by byte."""

from __future__ import annotations

import difflib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uws_service.domain.errors import UsageError

MAX_DIFFERENCES = 5
"""So many are told of one result."""
FITS_MAX_BYTES = 2**31
_CHANGING = frozenset({"DATE", "CHECKSUM", "DATASUM", "HISTORY", "COMMENT", ""})
"""Keywords of FITS headers that say when or how a file was written."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be from the expected one."""

    relative: float = 1e-6
    absolute: float = 0.0

    def holds(self, number: float, expected: float) -> bool:
        """Return whether a number is close enough; NaN is close to NaN."""
        if math.isnan(number) or math.isnan(expected):
            return math.isnan(number) and math.isnan(expected)
        return number == expected or abs(number - expected) <= max(self.absolute, self.relative * abs(expected))


@dataclass(frozen=True, slots=True)
class Rules:
    """How results are compared."""

    tolerance: Tolerance = Tolerance()
    columns: Mapping[str, Tolerance] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    pixels: float = 0.02


def differences(result: Path, expected: Path, media_type: str, rules: Rules) -> list[str]:
    """Return the first differences in words; empty if the result is as expected."""
    compare = _comparer(media_type.partition(";")[0].strip().lower(), expected.name.lower())
    problems = compare(result, expected, rules)
    listed = [problem for problem, _ in zip(problems, range(MAX_DIFFERENCES + 1), strict=False)]
    return [*listed[:MAX_DIFFERENCES], "…"] if len(listed) > MAX_DIFFERENCES else listed


Comparer = Callable[[Path, Path, Rules], Iterator[str]]


def _comparer(kind: str, name: str) -> Comparer:
    if kind == "application/json" or name.endswith(".json"):
        return _json
    if kind in ("application/fits", "image/fits") or name.endswith((".fits", ".fit", ".fits.gz")):
        return _fits
    if kind in ("image/png", "image/jpeg") or name.endswith((".png", ".jpg", ".jpeg")):
        return _pictures
    tables = ("application/x-votable+xml", "text/csv", "text/tab-separated-values", "application/vnd.apache.parquet")
    if kind in tables or name.endswith((".vot", ".xml", ".csv", ".tsv", ".ecsv", ".parquet")):
        return _tables
    return _text if kind.startswith("text/") else _bytes


def _bytes(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    actual, right = result.read_bytes(), expected.read_bytes()
    if actual != right:
        place = next((n for n, pair in enumerate(zip(actual, right, strict=False)) if pair[0] != pair[1]), None)
        place = min(len(actual), len(right)) if place is None else place
        yield f"{len(actual)} bytes instead of {len(right)}; they differ from byte {place} on"


def _text(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    actual, right = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (result, expected))
    lines = difflib.unified_diff(right, actual, "expected", "result", lineterm="", n=0)
    yield from (line for line in lines if not line.startswith(("---", "+++", "@@")))


# -- JSON ----------------------------------------------------------------------------------------------------------


def _json(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    try:
        actual = json.loads(result.read_text(encoding="utf-8"))
    except ValueError as error:
        yield f"is no JSON: {error}"
        return
    yield from _values(actual, json.loads(expected.read_text(encoding="utf-8")), rules, "$")


def _values(value: Any, expected: Any, rules: Rules, place: str) -> Iterator[str]:
    """Yield differences of two JSON values."""
    if isinstance(value, dict) and isinstance(expected, dict):
        for name in sorted((value.keys() | expected.keys()) - rules.ignore):
            if name not in value or name not in expected:
                yield f"{place}.{name} is {'missing' if name not in value else 'not expected'}"
            else:
                yield from _values(value[name], expected[name], rules, f"{place}.{name}")
    elif isinstance(value, list) and isinstance(expected, list):
        if len(value) != len(expected):
            yield f"{place} has {len(value)} items instead of {len(expected)}"
        for index, (item, other) in enumerate(zip(value, expected, strict=False)):
            yield from _values(item, other, rules, f"{place}[{index}]")
    elif not _alike(value, expected, rules.tolerance):
        yield f"{place} is {value!r} instead of {expected!r}"


def _alike(value: Any, expected: Any, tolerance: Tolerance) -> bool:
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in (value, expected))
    return tolerance.holds(float(value), float(expected)) if numbers else bool(value == expected)


# -- tables --------------------------------------------------------------------------------------------------------


def _tables(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    from uws_service.tables import read_arrow

    try:
        actual, right = read_arrow(result), read_arrow(expected)
    except UsageError as error:
        yield error.message
        return
    names, wanted_names = [column.name for column in actual.columns], [column.name for column in right.columns]
    compared = [name for name in wanted_names if name not in rules.ignore]
    if [name for name in names if name not in rules.ignore] != compared:
        yield f"has the columns {', '.join(names)} instead of {', '.join(wanted_names)}"
        return
    if actual.rows.num_rows != right.rows.num_rows:
        yield f"has {actual.rows.num_rows} rows instead of {right.rows.num_rows}"
    units = {column.name: column.unit for column in right.columns}
    for column in actual.columns:
        if column.name not in rules.ignore and column.unit != units[column.name]:
            yield f"{column.name} has the unit {column.unit!r} instead of {units[column.name]!r}"
    for name in compared:
        tolerance = rules.columns.get(name, rules.tolerance)
        pairs = zip(actual.rows[name].to_pylist(), right.rows[name].to_pylist(), strict=False)
        for row, (value, wanted_value) in enumerate(pairs, 1):
            if not _cell_alike(value, wanted_value, tolerance):
                yield f"row {row}: {name} is {value!r} instead of {wanted_value!r}"


def _cell_alike(value: Any, expected: Any, tolerance: Tolerance) -> bool:
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(
            _alike(item, other, tolerance) for item, other in zip(value, expected, strict=True)
        )
    return _alike(value, expected, tolerance)


# -- FITS ----------------------------------------------------------------------------------------------------------


def _fits(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    actual, right = _hdus(result), _hdus(expected)
    if isinstance(actual, str) or isinstance(right, str):
        yield actual if isinstance(actual, str) else f"the expected file {right}"
        return
    if len(actual) != len(right):
        yield f"has {len(actual)} HDUs instead of {len(right)}"
    for number, ((header, data), (wanted_header, wanted_data)) in enumerate(zip(actual, right, strict=False)):
        for name in sorted((header.keys() | wanted_header.keys()) - _CHANGING - rules.ignore):
            value, wanted_value = header.get(name), wanted_header.get(name)
            if not _alike(value, wanted_value, rules.tolerance):
                yield f"HDU {number}: {name} is {value!r} instead of {wanted_value!r}"
        yield from (f"HDU {number}: {problem}" for problem in _arrays(data, wanted_data, rules))


def _hdus(path: Path) -> list[tuple[dict[str, Any], Any]] | str:
    """Return headers and data of a FITS file, or why it can't be read."""
    from astropy.io import fits

    if path.stat().st_size > FITS_MAX_BYTES:
        return f"has more than {FITS_MAX_BYTES} bytes"
    try:
        # The author's own files, and those of the author's own command, on the author's own machine.
        with fits.open(io.BytesIO(path.read_bytes()), memmap=False) as hdus:  # noqa: TID251
            return [(dict(hdu.header), None if hdu.data is None else hdu.data.copy()) for hdu in hdus]
    except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
        return f"is no FITS file: {error}"


def _arrays(data: Any, expected: Any, rules: Rules) -> Iterator[str]:
    if data is None or expected is None:
        if data is not expected:
            yield f"has {'no ' if data is None else ''}data, unlike the expected file"
        return
    names: Sequence[str] | None = expected.dtype.names
    if names is None:
        yield from _array(data, expected, rules.tolerance, "pixels")
        return
    if data.dtype.names != names or len(data) != len(expected):
        yield f"has {len(data)} rows of {data.dtype.names} instead of {len(expected)} of {names}"
        return
    for name in names:
        if name not in rules.ignore:
            yield from _array(data[name], expected[name], rules.columns.get(name, rules.tolerance), name)


def _array(data: Any, expected: Any, tolerance: Tolerance, name: str) -> Iterator[str]:
    import numpy as np

    if data.shape != expected.shape:
        yield f"{name}: the shape is {data.shape} instead of {expected.shape}"
    elif np.issubdtype(expected.dtype, np.number) and np.issubdtype(data.dtype, np.number):
        actual, right = data.astype(float), expected.astype(float)
        with np.errstate(invalid="ignore"):
            bound = np.maximum(tolerance.absolute, tolerance.relative * np.abs(right))
            bad = ~((np.abs(actual - right) <= bound) | (actual == right) | (np.isnan(actual) & np.isnan(right)))
        if bad.any():
            place = tuple(int(index[0]) for index in np.nonzero(bad))
            values = f"{actual[place]} instead of {right[place]}"
            yield f"{name}: {int(bad.sum())} values differ, the first at {place}: {values}"
    elif not np.array_equal(data, expected):
        yield f"{name}: the values differ"


# -- pictures ------------------------------------------------------------------------------------------------------


def _pictures(result: Path, expected: Path, rules: Rules) -> Iterator[str]:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(result) as actual, Image.open(expected) as right:
            if actual.size != right.size:
                yield f"has {actual.size[0]} x {actual.size[1]} pixels instead of {right.size[0]} x {right.size[1]}"
                return
            arrays = [np.asarray(picture.convert("RGBA"), dtype=float) for picture in (actual, right)]
    except (UnidentifiedImageError, OSError) as error:
        yield f"is no picture: {error}"
        return
    distance = float(np.abs(arrays[0] - arrays[1]).mean()) / 255
    if distance > rules.pixels:
        yield f"the pixels differ by {distance:.3f} of the range in the mean; {rules.pixels:g} is allowed"
