"""Descriptors from YAML files; errors with file, line, field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from uws_service.applications.consistency import Problem, inconsistencies
from uws_service.applications.descriptor import build_application
from uws_service.applications.model import Application
from uws_service.applications.standard import PLAIN, Standard
from uws_service.domain.errors import ConfigurationError
from uws_service.plugins import PACKAGE_HINT

PACKAGE = Path(__file__).resolve().parent.parent
BUILTIN = PACKAGE / "apps"
CONTAINER = BUILTIN / "container" / "container.yaml"
"""Ships too, but is offered only where the settings allow images."""


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2.

    ``no``, ``1:30``, ``010`` and dates are texts, ``1e6`` is a number.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- typed so by the library


for _tag, _form, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})$"), list(_first))


def schema_path(name: str = "application.schema.json") -> Path:
    """Return the path of the JSON Schema.

    It is beside the package in a checkout, inside it when installed.
    """
    for folder in (PACKAGE / "schemas", PACKAGE.parent / "schemas"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"The JSON Schema {name} is not installed.")


@cache
def _schema_text() -> str:
    return schema_path().read_text(encoding="utf-8")


def _schema(standards: Iterable[Standard]) -> dict[str, Any]:
    """Return the JSON Schema of descriptors.

    It has the sections of standards that the file does not know.
    """
    schema: dict[str, Any] = json.loads(_schema_text())
    schema["properties"]["protocol"]["enum"] = [standard.name for standard in standards]
    for standard in standards:
        if standard.section_schema is not None:
            schema["properties"][standard.section] = standard.section_schema
            follows = {"properties": {"protocol": {"const": standard.name}}, "required": ["protocol"]}
            absent: dict[str, Any] = {"properties": {standard.section: {"not": {}}}}
            schema["allOf"].append({"if": follows, "then": {"required": [standard.section]}, "else": absent})
    return schema


def load_applications(
    paths: Iterable[Path], standards: Mapping[str, Standard], *, builtin: bool = True
) -> dict[str, Application]:
    """Return applications by name, from ``*.yaml``.

    Parameters
    ----------
    standards
        What ``protocol`` may be, by name.

    Raises
    ------
    ConfigurationError
        All that is wrong, one line each: ``file:line: field: what; what is allowed``.
    """
    files = list(_files([*([BUILTIN] if builtin else []), *paths]))
    loaded: dict[str, Application] = {}
    origin: dict[str, Path] = {}
    problems: list[str] = []
    for file in files:
        try:
            application = load_application(file, standards)
        except ConfigurationError as error:
            problems.append(error.message)
            continue
        if application.name in loaded:
            problems.append(f"{file}:1: name: {application.name!r} is declared in {origin[application.name]} too")
        loaded[application.name] = application
        origin[application.name] = file
    if problems:
        raise ConfigurationError("\n".join(problems))
    return loaded


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        elif path.is_file():
            yield path
        else:
            raise ConfigurationError(f"{path}: there is no such file or folder")


def load_application(file: Path, standards: Mapping[str, Standard]) -> Application:
    """Return the application of one descriptor."""
    content, node = _read(file, "name, title, description, command, results")
    problems = _violations(content, _schema(standards.values()), standards)
    problems += [(path, f"{path[-1]} is there twice") for path in _twice(node, [])]
    if not problems:
        standard = standards.get(content.get("protocol", ""), PLAIN)
        application = standard.locate(build_application(content, standard), file.parent)
        problems = list(inconsistencies(application))
    _raise(file, node, problems)
    return application


def load_document(file: Path, schema_name: str) -> dict[str, Any]:
    """Return the mapping in another YAML file, which fits a JSON Schema; errors are as those of a descriptor."""
    schema: dict[str, Any] = json.loads(schema_path(schema_name).read_text(encoding="utf-8"))
    content, node = _read(file, ", ".join(schema["properties"]))
    problems = _violations(content, schema, {})
    problems += [(path, f"{path[-1]} is there twice") for path in _twice(node, [])]
    _raise(file, node, problems)
    return content


def read_yaml(file: Path, fields: str) -> dict[str, Any]:
    """Return the mapping in a YAML file of any kind; ``fields`` are named if it is none."""
    return _read(file, fields)[0]


def _read(file: Path, fields: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """Return the mapping in a YAML file, and its nodes."""
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: TID251 -- derived from SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        message = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigurationError(f"{file}:{line}: not YAML: {message}") from None
    if (cycle_line := _line_of_cycle(node, ())) is not None:
        raise ConfigurationError(f"{file}:{cycle_line}: a part of the descriptor holds itself by an alias")
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file}:1: must be a mapping with {fields}")
    return content, node


def _raise(file: Path, node: yaml.Node | None, problems: list[Problem]) -> None:
    """Raise `ConfigurationError` if there are problems, each with its line."""
    if problems:
        lines = sorted((_line(node, path), f"{_field(path)}: {message}") for path, message in problems)
        raise ConfigurationError("\n".join(f"{file}:{line}: {text}" for line, text in lines))


def _violations(content: Any, schema: Mapping[str, Any], standards: Mapping[str, Standard]) -> list[Problem]:
    """Return everything that does not fit the schema."""
    validator = jsonschema.Draft202012Validator(schema)
    owners = {standard.section: f"only `protocol: {standard.name}` has one" for standard in standards.values()}
    return [problem for error in validator.iter_errors(content) for problem in _said(error, owners)]


def _line_of_cycle(node: yaml.Node | None, above: tuple[yaml.Node, ...]) -> int | None:
    """Return the line of a node that is inside itself.

    None: there is none.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return None
    if any(node is child for child in above):
        return int(node.start_mark.line) + 1
    children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return next((line for child in children if (line := _line_of_cycle(child, (*above, node))) is not None), None)


def _twice(node: yaml.Node | None, path: list[Any]) -> Iterator[list[Any]]:
    """Yield keys that a mapping has twice.

    YAML itself would take the last one in silence.
    """
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        for index, (_, value) in enumerate(node.value):
            if keys[index] in keys[:index]:
                yield [*path, keys[index]]
            yield from _twice(value, [*path, keys[index]])
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _twice(value, [*path, index])


def _said(error: jsonschema.ValidationError, owners: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a schema error in words, at the field it means."""
    path = list(error.absolute_path)
    value = json.dumps(error.instance, default=str)[:80]
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "enum":
            hint = PACKAGE_HINT if path == ["protocol"] else ""
            yield path, f"{value} is not known; allowed: {', '.join(map(str, rule))}{hint}"
        case "required":
            missing = re.match(r"'(.*?)' is", error.message)  # the library tells each missing name on its own
            name = missing[1] if missing else ", ".join(name for name in rule if name not in instance)
            yield path, f"{name} is missing"
        case "additionalProperties":
            properties = schema.get("properties", {})
            for name in instance:
                if name not in properties:
                    yield [*path, name], f"{name} is not known; allowed: {', '.join(properties)}"
        case "pattern":
            yield path, f"{value} is not allowed; it must be {schema['description']}"
        case "type":
            kinds = " or ".join(rule) if isinstance(rule, list) else rule
            yield (
                path,
                f"{value} is not allowed; it must be of type {kinds}: {schema.get('description', '')}".rstrip(": "),
            )
        case "not":  # the schema writes `not: {}` where a field may not be; of `false` the library forgets the path
            yield path, f"{path[-1]} can't be given here; {owners.get(str(path[-1]), 'the protocol brings it')}"
        case _:
            yield path, error.message


def _field(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "descriptor"


def _line(node: yaml.Node | None, path: list[Any]) -> int:
    """Return the line on which a field stands.

    It is that of the nearest enclosing one if the field is missing.
    """
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                return line
            line, node = pairs[-1][0].start_mark.line + 1, pairs[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
