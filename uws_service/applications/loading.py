"""Descriptors from YAML files: validated against the JSON Schema, errors with file, line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from uws_service.applications.checking import STANDARD
from uws_service.applications.launching import PLACEHOLDER
from uws_service.applications.literals import check_literal
from uws_service.applications.model import (
    Application,
    Bound,
    Example,
    Limits,
    MaxrecSpec,
    ParameterSpec,
    Resources,
    ResultSpec,
    UploadSpec,
)
from uws_service.errors import ConfigurationError, UsageError

PACKAGE = Path(__file__).resolve().parent.parent
BUILTIN = PACKAGE / "apps"
_SIZES = {"": 1, "B": 1, "K": 10**3, "KB": 10**3, "KIB": 2**10, "M": 10**6, "MB": 10**6, "MIB": 2**20,
          "G": 10**9, "GB": 10**9, "GIB": 2**30, "T": 10**12, "TB": 10**12, "TIB": 2**40}  # fmt: skip
_SECONDS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def schema_path() -> Path:
    """The JSON Schema: beside the package in a checkout, inside it when installed."""
    for folder in (PACKAGE / "schemas", PACKAGE.parent / "schemas"):
        if (folder / "application.schema.json").is_file():
            return folder / "application.schema.json"
    raise ConfigurationError("The JSON Schema of applications is not installed.")


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema_path().read_text(encoding="utf-8")))


def load_applications(paths: Iterable[Path], *, builtin: bool = True) -> dict[str, Application]:
    """Applications by name from files and folders of ``*.yaml``.

    Raises
    ------
    ConfigurationError
        All that is wrong, one line each: ``file:line: field: what; what is allowed``.
    """
    files = list(_files([*([BUILTIN] if builtin else []), *paths]))
    found: dict[str, Application] = {}
    origin: dict[str, Path] = {}
    problems: list[str] = []
    for file in files:
        try:
            application = load_application(file)
        except ConfigurationError as error:
            problems.append(error.message)
            continue
        if application.name in found:
            problems.append(f"{file}:1: name: {application.name!r} is declared in {origin[application.name]} too")
        found[application.name] = application
        origin[application.name] = file
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        elif path.is_file():
            yield path
        else:
            raise ConfigurationError(f"{path}: there is no such file or folder")


def load_application(file: Path) -> Application:
    """One descriptor."""
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise ConfigurationError(f"{file}:{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file}:1: must be a mapping with name, title, description, command, results")
    problems = [
        (list(error.absolute_path), _said(error))
        for error in sorted(_validator().iter_errors(content), key=lambda one: list(map(str, one.absolute_path)))
    ]
    if not problems:
        application = _application(content)
        problems = list(_inconsistencies(application))
    if problems:
        lines = [f"{file}:{_line(node, path)}: {_field(path)}: {what}" for path, what in problems]
        raise ConfigurationError("\n".join(lines))
    return application


def _said(error: jsonschema.ValidationError) -> str:
    """A schema error in words for a person."""
    value = json.dumps(error.instance, default=str)[:80]
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "enum":
            return f"{value} is not known; allowed: {', '.join(map(str, rule))}"
        case "required":
            missing = [name for name in rule if name not in instance]
            return f"{', '.join(missing)} is missing"
        case "additionalProperties":
            known = schema.get("properties", {})
            unknown = [name for name in instance if name not in known]
            return f"{', '.join(map(str, unknown))} is not known; allowed: {', '.join(known)}"
        case "pattern" | "type" | "oneOf" | "anyOf":
            return f"{value} is not allowed; it must be {schema.get('description', schema.get('type'))}"
        case _:
            return error.message


def _field(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "descriptor"


def _line(node: yaml.Node | None, path: list[Any]) -> int:
    """The line on which a field stands; that of the nearest enclosing one if it is missing."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                return line
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def size(value: int | str) -> int:
    """Bytes from a number or a text such as 512MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(value))
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(value)
    return int(float(match[1]) * _SIZES[match[2].upper()])


def seconds(value: int | str) -> int:
    """Seconds from a number or a text such as 2h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value))
    if match is None or match[2] not in _SECONDS:
        raise ValueError(value)
    return int(float(match[1]) * _SECONDS[match[2]])


def _text(value: Any) -> str:
    """A scalar as the user would have written it."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _parameter(raw: Mapping[str, Any]) -> ParameterSpec:
    values = dict(raw)
    values["options"] = tuple(_text(one) for one in raw.get("options", ()))
    if "default" in raw:
        values["default"] = _text(raw["default"])
    if "arraysize" in raw:
        values["arraysize"] = str(raw["arraysize"])
    return ParameterSpec(**values)


def _bound(raw: Mapping[str, Any] | None, fallback: Bound) -> Bound:
    if raw is None:
        return fallback
    highest = seconds(raw["maximum"]) if "maximum" in raw else fallback.maximum
    default = seconds(raw["default"]) if "default" in raw else fallback.default
    return Bound(min(default, highest) if highest and "default" not in raw else default, highest)


def _application(raw: Mapping[str, Any]) -> Application:
    limits, resources, uploads = raw.get("limits", {}), raw.get("resources", {}), raw.get("uploads")
    standard, ordinary = Limits(), Resources()
    return Application(
        name=raw["name"],
        title=raw["title"],
        description=raw["description"].strip(),
        command=tuple(raw["command"]),
        image=raw.get("image", ""),
        parameters=tuple(_parameter(one) for one in raw.get("parameters", ())),
        uploads=None
        if uploads is None
        else UploadSpec(
            minimum=uploads.get("minimum", 0),
            maximum=uploads.get("maximum", 1),
            size=size(uploads.get("size", "256MiB")),
            description=uploads.get("description", ""),
        ),
        resources=Resources(
            cpu=float(resources.get("cpu", ordinary.cpu)),
            memory=size(resources.get("memory", ordinary.memory)),
            disk=size(resources.get("disk", ordinary.disk)),
            gpus=resources.get("gpus", ordinary.gpus),
        ),
        limits=Limits(
            execution_duration=_bound(limits.get("execution_duration"), standard.execution_duration),
            retention=_bound(limits.get("retention"), standard.retention),
            output=size(limits.get("output", standard.output)),
            attempts=limits.get("attempts", standard.attempts),
            sync_duration=seconds(limits.get("sync_duration", standard.sync_duration)),
        ),
        results=tuple(ResultSpec(**{"required": True, **one}) for one in raw["results"]),
        maxrec=MaxrecSpec(**raw["maxrec"]) if "maxrec" in raw else None,
        examples=tuple(
            Example(
                one["name"],
                one.get("description", "").strip(),
                {key: tuple(value) if isinstance(value, list) else value for key, value in one["parameters"].items()},
            )
            for one in raw.get("examples", ())
        ),
        archive=raw.get("archive", False),
    )


def _inconsistencies(application: Application) -> Iterator[tuple[list[Any], str]]:
    """What a schema can't say."""
    names: set[str] = set()
    for index, one in enumerate(application.parameters):
        if one.name.upper() in names:
            yield ["parameters", index, "name"], f"{one.name!r} is declared twice (names do not depend on case)"
        if one.name.upper() in STANDARD or one.name.upper() in ("PHASE", "DESTRUCTION", "EXECUTIONDURATION", "ACTION"):
            yield ["parameters", index, "name"], f"{one.name!r} has a meaning of its own in UWS or DALI; choose another"
        names.add(one.name.upper())
        if one.default is not None and not one.file:
            try:
                check_literal(one, one.default)
            except UsageError as error:
                yield ["parameters", index, "default"], error.message
    for index, element in enumerate(application.command):
        for kind, name in PLACEHOLDER.findall(element):
            if not kind and name.upper() not in names:
                yield ["command", index], f"{{{name}}} is not declared; declared: {', '.join(sorted(names))}"
    ids = [one.id for one in application.results]
    for index, result in enumerate(application.results):
        if result.id in ids[:index]:
            yield ["results", index, "id"], f"{result.id!r} is declared twice"
        if result.path.startswith("/") or ".." in result.path.split("/"):
            yield ["results", index, "path"], f"{result.path!r} must lie in the output folder"
    for name in ("execution_duration", "retention"):
        bound: Bound = getattr(application.limits, name)
        if bound.maximum and (bound.default > bound.maximum or bound.default == 0):
            yield ["limits", name, "default"], f"{bound.default} s is above the maximum of {bound.maximum} s"


def descriptor_reference() -> str:
    """The fields of a descriptor as Markdown, from the JSON Schema."""
    schema = json.loads(schema_path().read_text(encoding="utf-8"))
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += _rows(schema, schema, "")
    return "\n".join(lines) + "\n"


def _rows(schema: Mapping[str, Any], node: Mapping[str, Any], prefix: str) -> list[str]:
    rows = []
    for name, field in node.get("properties", {}).items():
        required = " (required)" if name in node.get("required", ()) else ""
        target = _resolved(schema, field)
        kind = target.get("type", "any")
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        if "enum" in target:
            kind = "one of " + ", ".join(f"`{one}`" for one in target["enum"])
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        meaning = field.get("description", target.get("description", "")).replace("|", "\\|")
        rows.append(f"| `{prefix}{name}`{required} | {kind} | {default} | {meaning} |")
        rows += _rows(schema, target, f"{prefix}{name}.")
        items = _resolved(schema, target.get("items", {}))
        rows += _rows(schema, items, f"{prefix}{name}[].")
    return rows


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return found
