"""The header of ECSV 1.0: declarations of columns.

Its YAML is read as nodes; no object is created from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from uws_service.adql.model import Column
from uws_service.tap.readers import Unreadable, check_column_count

_TYPES = {"bool": "boolean", "uint8": "unsignedByte", "int8": "short", "int16": "short", "uint16": "int",
          "int32": "int", "uint32": "long", "int64": "long", "uint64": "long", "float16": "float", "float32": "float",
          "float64": "double", "float128": "double", "complex64": "float", "complex128": "double",
          "string": "char"}  # fmt: skip
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_HEAD_CHARACTERS = 8 << 20
MAX_DEPTH = 64
"""Of collections in one another; a parser needs time with the square of it, and a stack."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A column as the header declares it.

    ``json``: its cells hold arrays in JSON. ``column`` is None if no table here has its type, and ``why`` says so.
    """

    name: str
    column: Column | None
    json: bool = False
    complex: bool = False
    unsigned: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The header of an ECSV file."""

    delimiter: str
    columns: tuple[Declared, ...]
    description: str = ""


def read_head(text: str) -> Head:
    """Parse the YAML of a header.

    Raises
    ------
    Unreadable
        It is no YAML, or no head of ECSV.
    """
    if len(text) > MAX_HEAD_CHARACTERS:
        raise Unreadable(f"The head of the ECSV is longer than {MAX_HEAD_CHARACTERS} characters.")
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise Unreadable(f"The head of the ECSV can't be read: {' '.join(str(error).split())[:200]}") from None
    content = _mapping(node)
    columns = content.get("datatype")
    if not isinstance(columns, yaml.SequenceNode):
        raise Unreadable("The head of the ECSV has no list 'datatype' of its columns.")
    check_column_count(len(columns.value))
    delimiter = _text(content.get("delimiter")) or " "
    if delimiter not in (" ", ","):
        raise Unreadable(f"The delimiter {delimiter[:10]!r} of the ECSV is neither a space nor a comma.")
    return Head(delimiter, tuple(map(_declared, columns.value)))


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable(f"The head of the ECSV has collections in one another, more than {MAX_DEPTH} deep.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _declared(node: Any) -> Declared:
    words = _mapping(node)
    name, kind = _text(words.get("name")), _text(words.get("datatype"))
    if not name or not kind:
        raise Unreadable("A column in the head of the ECSV has no name or no datatype.")
    subtype = _text(words.get("subtype"))
    json, size = False, None
    if subtype:
        match = re.fullmatch(r"(\w+)\[([\d, ]*(?:null)?)\]", subtype)
        if match is None or match.group(1) == "string":
            return Declared(name, None, reason=f"values of the subtype {subtype[:40]!r} are not taken")
        json, kind, size = True, match.group(1), _size(match.group(2))
    datatype = _TYPES.get(kind)
    if datatype is None:
        return Declared(name, None, reason=f"values of the datatype {kind[:40]!r} are not taken")
    pair = kind.startswith("complex")
    if pair and json:
        return Declared(name, None, reason="arrays of complex numbers are not taken")
    if datatype == "char":
        size = "*"
    elif pair:
        size = "2"
    meta = _mapping(words.get("meta"))
    column = Column(
        name,
        datatype,
        size,
        _text(meta.get("xtype")) or None,
        _text(words.get("unit")) or None,
        _text(meta.get("ucd")) or None,
        _text(meta.get("utype")) or None,
        " ".join(_text(words.get("description")).split()),
    )
    return Declared(name, column, json, pair, kind == "uint64")


def _size(shape: str) -> str:
    sizes = [size.strip() for size in shape.split(",") if size.strip()]
    if not sizes or "null" in sizes:
        return "*"
    total = 1
    for size in sizes:
        total *= int(size)
    return str(total)


def _mapping(node: Any) -> dict[str, Any]:
    """Return a mapping's nodes by key.

    An ordered mapping, which is a list of mappings, counts too.
    """
    return dict(_pairs(node))


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield _text(key), value
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            if isinstance(part, yaml.MappingNode):
                for key, value in part.value:
                    yield _text(key), value


def _text(node: Any) -> str:
    """Return a scalar's text.

    Of a mapping, its unit's name.

    Tags such as ``!astropy.units.Unit`` are ignored.
    """
    if isinstance(node, yaml.ScalarNode):
        return "" if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if isinstance(node, yaml.MappingNode):
        return next((str(v.value) for k, v in node.value if _text(k) == "unit" and isinstance(v, yaml.ScalarNode)), "")
    return ""
