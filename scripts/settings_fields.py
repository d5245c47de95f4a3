"""The fields of settings, as rows of a table: names, types and defaults in words."""

from __future__ import annotations

import copy
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any


def fields_of(model: Any, prefix: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the fields of a group, with those of the groups inside it."""
    fields: list[tuple[tuple[str, ...], Any]] = []
    for name, field in model.model_fields.items():
        inner, container = models_in(field.annotation)
        if not inner or container is not None:
            fields.append(((*prefix, name), field))
        path = (*prefix, name, NAME) if container is Mapping else (*prefix, name + ("[]" if container else ""))
        fields += fields_of_kinds(inner, path)
    return fields


def fields_of_kinds(models: list[Any], prefix: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the fields of a group of several kinds: what all have stands first, the others name their kind."""
    if len(models) == 1:
        return fields_of(models[0], prefix)
    of_kinds = {
        typing.get_args(model.model_fields["kind"].annotation)[0]: dict(fields_of(model, prefix)) for model in models
    }
    fields: dict[tuple[tuple[str, ...], str], Any] = {}
    for kind, own in of_kinds.items():
        for path, field in own.items():
            meaning = (field.description, default_of(field))
            if all(
                path in other and meaning == (other[path].description, default_of(other[path]))
                for other in of_kinds.values()
            ):
                fields.setdefault((path, ""), field)
            else:
                described = copy.copy(field)
                if path[-1] != "kind":
                    described.description = f"Kind `{kind}`: {field.description}"
                fields[path, kind] = described
    return [(path, field) for (path, _), field in fields.items()]


def models_in(annotation: Any) -> tuple[list[Any], Any]:
    """Return the settings groups inside a type.

    With them comes what holds them: a tuple, a list or a mapping; None if there is one at most.
    """
    if inspect.isclass(annotation) and hasattr(annotation, "model_fields"):
        return [annotation], None
    models = [model for part in typing.get_args(annotation) for model in models_in(part)[0]]
    origin = typing.get_origin(annotation)
    return models, origin if models and origin in (tuple, list, Mapping) else None


NAME = "NAME"
"""What stands in a path for the keys of a mapping."""
WORDS = {
    "str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path",
    "datetime": "instant", "SecretStr": "text", "dict": "mapping", "Mapping": "mapping",
}  # fmt: skip


def type_of(annotation: Any) -> str:
    """Return a type in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_of(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin is Mapping and models_in(annotation)[0]:
        return "mapping of groups"
    if origin in (tuple, list):
        return "list of groups" if models_in(arguments[0])[0] else f"list of {type_of(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_of(argument) for argument in arguments if argument is not type(None))
    if hasattr(annotation, "model_fields"):
        return "group"
    return WORDS.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)))


def default_of(field: Any) -> str:
    """Return the default of a field in words."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        inner = [
            ", ".join(f"{k}: {v}" for k, v in item) if hasattr(type(item), "model_fields") else str(item)
            for item in value
        ]
        return f"`[{', '.join(inner)}]`" if inner else "`[]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if str(value) else "empty"
