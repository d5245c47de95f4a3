"""The reference of the descriptor, from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from uws_service.applications.files import schema_path


def descriptor_reference() -> str:
    """Return the fields of a descriptor as Markdown."""
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
            kind = "one of " + ", ".join(f"`{option}`" for option in target["enum"])
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
    target: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return target
