"""CSV and ECSV: types from the values, metadata where ECSV has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import yaml

from uws_service.adql.model import Column
from uws_service.tap.readers import Source, Unreadable, limited
from uws_service.tap.types import column_type, conform

_ECSV = {"bool": "boolean", "uint8": "unsignedByte", "int8": "short", "int16": "short", "int32": "int", "int64": "long",
         "float32": "float", "float64": "double", "string": "char"}  # fmt: skip
_NULLS = ["", "NULL", "null", "NaN", "nan", "N/A"]


def read(path: Path) -> Source:
    """One table; the separator is found among comma, tab, semicolon and (in ECSV) space."""
    head, skipped = _head(path)
    described = _described(head)
    with path.open("rb") as file:
        for _ in range(skipped):
            file.readline()
        names = file.readline().decode("utf-8-sig", "replace")
    limited(1 + max(names.count(one) for one in ("\t", ",", ";")))
    separator = next((one for one in ("\t", ",", ";") if one in names), " " if head else ",")
    parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=separator != " ")
    convert = pyarrow.csv.ConvertOptions(
        null_values=_NULLS,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true", "True", "TRUE", "T"],
        false_values=["false", "False", "FALSE", "F"],
    )
    reading = pyarrow.csv.ReadOptions(skip_rows=skipped, block_size=8 << 20)
    try:
        reader = pyarrow.csv.open_csv(path, reading, parse, convert)
    except pa.ArrowInvalid as error:
        raise Unreadable(f"The table can't be read as CSV: {' '.join(str(error).split())[:200]}") from None
    columns = tuple(described.get(field.name) or _guessed(field) for field in reader.schema)
    return Source(columns, _batches(reader, columns))


def _head(path: Path) -> tuple[str, int]:
    """What ECSV says in its comments, and how many lines stand before the names."""
    lines: list[str] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line[1:].removeprefix(" "))
    ecsv = bool(lines) and lines[0].startswith("%ECSV")
    return "".join(line for line in lines[1:] if line.strip() != "---") if ecsv else "", len(lines)


def _described(head: str) -> dict[str, Column]:
    try:
        content = yaml.load(head, Loader=_Ecsv) if head else None
    except yaml.YAMLError as error:
        raise Unreadable(f"The head of the ECSV can't be read: {' '.join(str(error).split())[:200]}") from None
    found = {}
    for one in content.get("datatype", ()) if isinstance(content, dict) else ():
        datatype = _ECSV.get(str(one.get("datatype")))
        if datatype is None or one.get("subtype"):
            continue
        meta = one.get("meta") if isinstance(one.get("meta"), dict) else {}
        name = str(one.get("name"))
        unit = str(one["unit"]) if one.get("unit") else None
        found[name] = Column(name, datatype, "*" if datatype == "char" else None, meta.get("xtype"), unit,
                             meta.get("ucd"), meta.get("utype"), str(one.get("description") or ""))  # fmt: skip
    return found


class _Ecsv(yaml.SafeLoader):
    """Safe YAML that takes any tag for plain data, such as the ordered maps and units of ECSV."""


def _plain(loader: Any, _: str, node: Any) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node)
    if isinstance(node, yaml.SequenceNode):
        parts = loader.construct_sequence(node, deep=True)
        if parts and all(isinstance(one, dict) for one in parts):
            return {key: value for one in parts for key, value in one.items()}
        return parts
    return loader.construct_scalar(node)


_Ecsv.add_multi_constructor("!", _plain)
_Ecsv.add_constructor("tag:yaml.org,2002:omap", lambda loader, node: _plain(loader, "", node))


def _guessed(field: Any) -> Column:
    datatype, size, xtype = column_type(field.type)
    return Column(field.name, datatype, size, xtype)


def _batches(reader: Any, columns: tuple[Column, ...]) -> Iterator[Any]:
    try:
        for batch in reader:
            if batch.num_rows:
                yield conform(batch, columns)
    except pa.ArrowInvalid as error:
        raise Unreadable(f"The table can't be read as CSV: {' '.join(str(error).split())[:200]}") from None
