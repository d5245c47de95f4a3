"""A CommandLineTool as data: maps and lists, short and long forms of types made alike (CWL v1.2 §5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uws_service.applications.files import read_yaml
from uws_service.domain.errors import ConfigurationError

VERSIONS = ("v1.0", "v1.1", "v1.2")
_REFERENCES = ("$import", "$include", "$mixin")


@dataclass(frozen=True, slots=True)
class Type:
    """A type of an input or output.

    ``name`` is CWL's word, ``array`` whether there are many of it; a type with ``problem`` has no counterpart.
    """

    name: str
    is_optional: bool = False
    array: bool = False
    symbols: tuple[str, ...] = ()
    item_binding: Mapping[str, Any] | None = None
    """How each item of an array is put on the command line, if the type says that."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output."""

    id: str
    type: Type
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A CommandLineTool.

    ``requirements`` must be met, ``hints`` may be; both by class.
    """

    file: Path
    raw: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    requirements: Mapping[str, Mapping[str, Any]]
    hints: Mapping[str, Mapping[str, Any]]

    @property
    def base_command(self) -> list[str]:
        """Return the words that the command begins with."""
        base = self.raw.get("baseCommand", [])
        return [str(word) for word in ([base] if isinstance(base, str) else base)]

    def text(self, name: str) -> str:
        """Return a text of the tool, such as its label; lists are joined."""
        value = self.raw.get(name, "")
        return ("\n".join(map(str, value)) if isinstance(value, list) else str(value or "")).strip()


def read_tool(file: Path) -> Tool:
    """Return the tool in a file.

    Raises
    ------
    ConfigurationError
        It is no CommandLineTool of a version that is understood, or refers to other files.
    """
    try:
        raw = read_yaml(file, "cwlVersion, class, baseCommand, inputs, outputs")
    except ConfigurationError as error:
        hint = '; inside braces write such a type in quotes: "int?"' if "got '?'" in error.message else ""
        raise ConfigurationError(error.message + hint) from None
    if "$graph" in raw:
        raise ConfigurationError(f"{file}: $graph: holds several tools; put the CommandLineTool into a file of its own")
    version = str(raw.get("cwlVersion", ""))
    if version not in VERSIONS:
        raise ConfigurationError(f"{file}: cwlVersion: {version!r} is not understood; allowed: {', '.join(VERSIONS)}")
    if raw.get("class") != "CommandLineTool":
        raise ConfigurationError(
            f"{file}: class: {raw.get('class')!r} can't be an application; allowed: CommandLineTool (the steps of a "
            "workflow are tools of their own)"
        )
    for name in _references(raw):
        raise ConfigurationError(f"{file}: {name} refers to another file; put its content here")
    for name in ("inputs", "outputs", "requirements", "hints"):
        items = raw.get(name, ())
        if not isinstance(items, dict | list | tuple) or not (
            isinstance(items, dict) or all(isinstance(item, dict) for item in items)
        ):
            raise ConfigurationError(f"{file}: {name}: must be a mapping, or a list of mappings")
    return Tool(
        file,
        raw,
        tuple(_ports(raw.get("inputs", {}))),
        tuple(_ports(raw.get("outputs", {}))),
        _by_class(raw.get("requirements", {})),
        _by_class(raw.get("hints", {})),
    )


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (name for name in _REFERENCES if name in value)
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _ports(raw: Any) -> Iterator[Port]:
    """Yield inputs or outputs, from a list or a mapping by id."""
    items = raw.items() if isinstance(raw, dict) else ((item.get("id", ""), item) for item in raw or ())
    for name, item in items:
        fields = item if isinstance(item, dict) and ("type" in item) else {"type": item}
        yield Port(local_name(str(name)), _type(fields["type"]), fields)


def _by_class(raw: Any) -> dict[str, Mapping[str, Any]]:
    if isinstance(raw, dict):
        return {str(name): value or {} for name, value in raw.items()}
    return {str(item.get("class", "")): item for item in raw or ()}


def local_name(identifier: str) -> str:
    """Return the last part of an id, such as ``x`` of ``file.cwl#tool/x``."""
    return re.split(r"[#/]", identifier)[-1]


def _type(raw: Any) -> Type:
    """Return a type in one form, of whatever form it is written in."""
    if isinstance(raw, str):
        return _named(raw)
    if isinstance(raw, list):
        members = [member for member in raw if member != "null"]
        if len(members) != 1:
            return Type("union", "null" in raw, problem="one of several types")
        inner = _type(members[0])
        return Type(
            inner.name,
            "null" in raw or inner.is_optional,
            inner.array,
            inner.symbols,
            inner.item_binding,
            inner.problem,
        )
    if isinstance(raw, dict):
        match raw.get("type"):
            case "array":
                items = _type(raw.get("items"))
                problem = items.problem or ("an array of arrays" if items.array else "")
                binding = raw.get("inputBinding")
                if isinstance(raw.get("items"), dict) and "inputBinding" in raw["items"]:
                    binding = raw["items"]["inputBinding"]
                return Type(items.name, False, True, items.symbols, binding, problem)
            case "enum":
                symbols = tuple(local_name(str(symbol)) for symbol in raw.get("symbols", ()))
                return Type("enum", symbols=symbols)
            case "record":
                return Type("record", problem="a record")
            case simple:
                return _type(simple)
    return Type("unknown", problem=f"the type {raw!r}")


def _named(name: str) -> Type:
    optional, name = name.endswith("?"), name.removesuffix("?")
    array, name = name.endswith("[]"), name.removesuffix("[]")
    simple = "boolean int long float double string File stdin stdout stderr".split()
    problem = "" if name in simple else f"the type {name}"
    return Type(name, optional, array, problem=problem)
