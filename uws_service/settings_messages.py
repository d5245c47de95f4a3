"""What is wrong with settings, in words: file and line or variable, field, what is allowed, and a guess."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from uws_service.plugins import PACKAGE_HINT
from uws_service.settings_checks import mask_secrets

PREFIX = "UWS_"
DELIMITER = "__"
GUESS_CUTOFF = 0.7

FieldPath = tuple[str | int, ...]

_TEST_VARIABLES = re.compile(r"UWS_(TEST|FUZZ|TOPCAT|CLUSTER|BENCH|CONFORMANCE)_.*")
_COMMAND_VARIABLES = frozenset({"UWS_CONFIG", "UWS_CLIENT_TOKEN"})
_JOB_VARIABLES = re.compile(
    r"UWS_(JOB_ID|(IN|OUT)PUT_DIR|PROGRESS_FILE|PARAM_.*|RESPONSEFORMAT|MAXREC|AGENT_.*|QUERY_MEMORY|IMAGES(_.*)?"
    r"|CATALOGUE(_.*)?)"
)
# What Kubernetes tells every pod about a Service whose name begins with "uws".
_SERVICE_LINKS = re.compile(r"UWS_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP).*)?)")

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "a list of at least {min_length}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of settings come from."""

    file: Path | None = None
    document: yaml.Node | None = None
    """The nodes of the file, with their lines."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables, their names in capital letters."""
    arguments: Collection[str] = ()
    """The names of the settings that came as arguments."""

    def place(self, path: FieldPath) -> str:
        """Return where a field was set, as the beginning of a message."""
        if path and path[0] in self.arguments:
            return "settings"
        if variable := self._variable(path):
            return f"environment: {variable}"
        if self.file is None:
            return "settings"
        return f"{self.file}:{line_of(self.document, path)}"

    def _variable(self, path: FieldPath) -> str | None:
        for length in range(len(path), 0, -1):
            variable = PREFIX + DELIMITER.join(map(str, path[:length])).upper()
            if variable in self.environment:
                inner = path[length:]
                return variable if not inner or _is_in_json(self.environment[variable], inner[:1]) else None
        return None


def _is_in_json(text: str, path: FieldPath) -> bool:
    """Return whether a variable's JSON has a field, or could not hold any."""
    try:
        value = json.loads(text)
    except ValueError:
        return True
    return path[0] in value if isinstance(value, dict) else True


def describe(error: ValidationError, model: type[BaseModel], origin: Origin) -> str:
    """Return all that is wrong, one line each."""
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    lines: list[tuple[int, str]] = []
    for problem in problems:
        location = problem["loc"]
        is_consequence = problem["type"] == "too_short" and any(
            other != location and other[: len(location)] == location for other in places
        )
        if not is_consequence:
            path, _ = resolve(model, location)
            lines.append((line_of(origin.document, path), _message(problem, model, origin)))
    return "\n".join(text for _, text in sorted(lines, key=lambda line: line[0]))


def _message(problem: ErrorDetails, model: type[BaseModel], origin: Origin) -> str:
    path, parent = resolve(model, problem["loc"])
    context = problem.get("ctx", {})
    if problem["type"] == "union_tag_invalid":
        path = (*path, str(context["discriminator"]).strip("'"))
        tags = re.findall(r"'([^']*)'", str(context["expected_tags"]))
        message = unknown(str(context["tag"]), tags) + PACKAGE_HINT
    elif problem["type"] == "extra_forbidden":
        message = f"{_last(path)} {_not_known(str(path[-1]), _field_names(parent))}"
    elif problem["type"] == "missing":
        message = f"{_last(path)} is missing{_meaning(parent, path)}"
    else:
        message = _requirement(problem, path, context)
    return f"{origin.place(path)}: {field_name(path)}: {message}"


def _requirement(problem: ErrorDetails, path: FieldPath, context: Mapping[str, Any]) -> str:
    kind = problem["type"]
    if kind in ("value_error", "assertion_error"):
        message = str(context.get("error", problem["msg"]))
    elif kind in _BOUNDS:
        message = f"must be {_BOUNDS[kind].format_map(context)}"
    elif kind.partition("_")[0] in _KINDS:
        message = f"must be {_KINDS[kind.partition('_')[0]]}"
    else:
        message = problem["msg"]
    value = problem["input"]
    if kind == "literal_error" and isinstance(value, str):
        message += guess(value, re.findall(r"'([^']*)'", str(context["expected"])))
    if _may_be_shown(path, value):
        message += f" (given: {mask_secrets(repr(value))[:200]})"
    return message


def _may_be_shown(path: FieldPath, value: Any) -> bool:
    """Return whether a message may repeat a value.

    Sections and keys may hold secrets.
    """
    is_secret = any(word in str(part) for part in path for word in ("secret", "key", "token", "password"))
    return not is_secret and not isinstance(value, dict | list | tuple)


def guess(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean …?" if one of the names is close, else nothing."""
    matches = difflib.get_close_matches(name.lower(), list(names), 1, GUESS_CUTOFF)
    return f"; did you mean {matches[0]}?" if matches else ""


def unknown(name: str, names: Collection[str]) -> str:
    """Return that a name is not known, with a guess and all that are."""
    return f"{name!r} {_not_known(name, names)}"


def _not_known(name: str, names: Collection[str]) -> str:
    closest = guess(name, names)
    allowed = f"allowed: {', '.join(names)}" if names else ""
    return f"is not known{closest}" + (f" {allowed}" if closest else f"; {allowed}" if allowed else "")


def _last(path: FieldPath) -> str:
    return str(path[-1]) if path else "settings"


def _meaning(parent: Any, path: FieldPath) -> str:
    if _is_model(parent) and path[-1] in parent.model_fields:
        return f": {parent.model_fields[path[-1]].description or ''}".rstrip(": .")
    return ""


def field_name(path: Iterable[str | int]) -> str:
    """Return a field as it is written: ``sites[0].slots``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "settings"


# -- where a field is ----------------------------------------------------------------------------------------------


def line_of(node: yaml.Node | None, path: FieldPath) -> int:
    """Return the line of a field.

    That of the nearest field around it if it is missing.
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


def repeated_fields(node: yaml.Node | None, path: FieldPath = ()) -> Iterator[FieldPath]:
    """Yield the fields that a mapping has twice.

    YAML would take the last one in silence.
    """
    if isinstance(node, yaml.MappingNode):
        names = [str(key.value) for key, _ in node.value]
        for index, (_, value) in enumerate(node.value):
            if names[index] in names[:index]:
                yield (*path, names[index])
            yield from repeated_fields(value, (*path, names[index]))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from repeated_fields(value, (*path, index))


def resolve(model: type[BaseModel], location: Iterable[str | int]) -> tuple[FieldPath, Any]:
    """Return a problem's field without the tags of unions, and the type that it is a part of."""
    annotation: Any = model
    parent: Any = model
    path: list[str | int] = []
    for part in location:
        member = _member(annotation, part)
        if member is not None:
            annotation = member
            continue
        parent, annotation = annotation, _part(annotation, part)
        path.append(part)
    return tuple(path), _plain(parent)


def _plain(annotation: Any) -> Any:
    """Return a type without ``Annotated`` and ``None``."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    members = _members(annotation)
    return _plain(members[0]) if len(members) == 1 else annotation


def _members(annotation: Any) -> list[Any]:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for member in typing.get_args(annotation) if member is not type(None)]
    return []


def _member(annotation: Any, tag: str | int) -> Any:
    """Return the member of a union that has a tag, None if the type is no such union."""
    for member in _members(annotation):
        is_tagged = _is_model(member) and "kind" in member.model_fields
        if is_tagged and tag in typing.get_args(member.model_fields["kind"].annotation):
            return member
    return None


def _part(annotation: Any, part: str | int) -> Any:
    annotation = _plain(annotation)
    if _is_model(annotation):
        known = annotation.model_fields.get(part)
        return known.annotation if known is not None else None
    arguments = typing.get_args(annotation)
    return arguments[0 if isinstance(part, int) else -1] if arguments else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _field_names(annotation: Any) -> list[str]:
    return list(annotation.model_fields) if _is_model(annotation) else []


# -- the environment -----------------------------------------------------------------------------------------------


def unknown_variables(environment: Iterable[str], model: type[BaseModel]) -> list[str]:
    """Return a message for each variable that looks like a setting and is none."""
    variables = sorted(name.upper() for name in environment if name.upper().startswith(PREFIX))
    messages = []
    for variable in variables:
        name = variable.removeprefix(PREFIX).partition(DELIMITER)[0].lower()
        if name in model.model_fields or _belongs_to_others(variable, "UWS_JOB_ID" in variables):
            continue
        message = f"{name} {_not_known(name, list(model.model_fields))}"
        messages.append(f"environment: {variable}: {message}")
    return messages


def _belongs_to_others(variable: str, is_in_job: bool) -> bool:
    return (
        variable in _COMMAND_VARIABLES
        or _TEST_VARIABLES.fullmatch(variable) is not None
        or _SERVICE_LINKS.fullmatch(variable) is not None
        or (is_in_job and _JOB_VARIABLES.fullmatch(variable) is not None)
    )


def unreadable_variable(error: Exception, environment: Iterable[str]) -> str:
    """Return what is wrong with a variable that must be JSON and is not."""
    match = re.search(r'field "(\w+)"', str(error))
    variable = PREFIX + match[1].upper() if match else ""
    name = next((name for name in environment if name == variable), variable or "settings")
    return f'environment: {name}: must be JSON, such as ["a", "b"] for a list or {{"name": 1}} for a mapping'
