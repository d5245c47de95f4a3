"""A provenance graph as PROV-JSON (W3C member submission, 2013) and as PROV-N (W3C REC, 2013).

Both have sorted keys and no instant of their own: the same job gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from uws_service.protocol.provenance.graph import (
    Attributes,
    Graph,
    Name,
    Node,
    Relation,
    RelationKind,
    Time,
    Uri,
    Value,
)

_ENDS: Mapping[RelationKind, tuple[str, str]] = {
    "used": ("prov:activity", "prov:entity"),
    "wasGeneratedBy": ("prov:entity", "prov:activity"),
    "wasAssociatedWith": ("prov:activity", "prov:agent"),
    "wasAttributedTo": ("prov:entity", "prov:agent"),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasInfluencedBy": ("prov:influencee", "prov:influencer"),
    "hadMember": ("prov:collection", "prov:entity"),
}
_OPEN_ENDS: Mapping[RelationKind, str] = {"wasDerivedFrom": ", -, -, -"}
"""What PROV-N has between the ends of a relation and its attributes."""


def instant(ms: int) -> str:
    """Return an instant as xsd:dateTime with an offset."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000).isoformat()


# --- PROV-JSON ----------------------------------------------------------------------------------------------------


def prov_json(graph: Graph) -> bytes:
    """Return a graph as PROV-JSON (P-020)."""
    document: dict[str, dict[str, Any]] = {"prefix": dict(graph.prefixes)}
    for node in graph.nodes.values():
        document.setdefault(node.kind, {})[node.name.text] = _node_json(node)
    for number, relation in enumerate(graph.relations, 1):
        document.setdefault(relation.kind, {})[f"_:r{number}"] = _relation_json(relation)
    for name, bundle in graph.bundles.items():
        document.setdefault("bundle", {})[name.text] = dict(bundle)
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _node_json(node: Node) -> dict[str, Any]:
    members = _attributes_json(node.attributes)
    if node.started is not None:
        members["prov:startTime"] = instant(node.started)
    if node.ended is not None:
        members["prov:endTime"] = instant(node.ended)
    return members


def _relation_json(relation: Relation) -> dict[str, Any]:
    first, second = _ENDS[relation.kind]
    members = {first: relation.first.text, second: relation.second.text, **_attributes_json(relation.attributes)}
    if relation.plan is not None:
        members["prov:plan"] = relation.plan.text
    if relation.time is not None:
        members["prov:time"] = instant(relation.time)
    return members


def _attributes_json(pairs: Attributes) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        written = _value_json(value)
        if name in members:
            earlier = members[name] if isinstance(members[name], list) else [members[name]]
            members[name] = [*earlier, written]
        else:
            members[name] = written
    return members


def _value_json(value: Value) -> Any:
    match value:
        case Name():
            return {"$": value.text, "type": "prov:QUALIFIED_NAME"}
        case Uri():
            return {"$": value.text, "type": "xsd:anyURI"}
        case Time():
            return {"$": instant(value.ms), "type": "xsd:dateTime"}
        case int():
            return {"$": str(value), "type": "xsd:long"}
        case _:
            return value


# --- PROV-N -------------------------------------------------------------------------------------------------------


def prov_n(graph: Graph) -> bytes:
    """Return a graph as PROV-N (P-022, P-023); bundles are in PROV-JSON alone."""
    lines = ["document"]
    lines += [f"  prefix {prefix} <{namespace}>" for prefix, namespace in sorted(graph.prefixes.items())]
    lines.append("")
    lines += [f"  {_node_n(node)}" for node in graph.nodes.values()]
    lines += [f"  {_relation_n(relation)}" for relation in graph.relations]
    return "\n".join([*lines, "endDocument", ""]).encode(errors="replace")


def _node_n(node: Node) -> str:
    words = [node.name.text]
    if node.kind == "activity" and (node.started is not None or node.ended is not None):
        words += ["-" if time is None else instant(time) for time in (node.started, node.ended)]
    return f"{node.kind}({', '.join(words)}{_attributes_n(node.attributes)})"


def _relation_n(relation: Relation) -> str:
    words = [relation.first.text, relation.second.text]
    if relation.kind in ("used", "wasGeneratedBy"):
        words.append("-" if relation.time is None else instant(relation.time))
    elif relation.kind == "wasAssociatedWith":
        words.append("-" if relation.plan is None else relation.plan.text)
    ends = _OPEN_ENDS.get(relation.kind, "")
    return f"{relation.kind}({', '.join(words)}{ends}{_attributes_n(relation.attributes)})"


def _attributes_n(pairs: Attributes) -> str:
    return f", [{', '.join(f'{name}={_value_n(value)}' for name, value in pairs)}]" if pairs else ""


def _value_n(value: Value) -> str:
    match value:
        case Name():
            return f"'{value.text}'"
        case Uri():
            return f"{_quoted(value.text)} %% xsd:anyURI"
        case Time():
            return f"{_quoted(instant(value.ms))} %% xsd:dateTime"
        case int():
            return f'"{value}" %% xsd:long'
        case _:
            return _quoted(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""' if "\n" in escaped or "\r" in escaped else f'"{escaped}"'
