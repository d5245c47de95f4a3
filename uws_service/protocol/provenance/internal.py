"""What a job's own code says of its provenance (P-014): PROV-JSON in ``provenance.json`` of its output folder.

It becomes a bundle of the job's document. Whatever a command writes may be in it, so it is checked part by part; what
is no PROV-JSON is left out, and the document says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from uws_service.domain.redaction import redacted

FILE = "provenance.json"
"""The path of the result that is read."""
BYTES_MAX = 2**20
"""Bytes of the file."""
RECORDS_MAX = 10_000
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "used": ("prov:activity",),
    "wasGeneratedBy": ("prov:entity",),
    "wasAssociatedWith": ("prov:activity",),
    "wasAttributedTo": ("prov:entity", "prov:agent"),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
    "wasInfluencedBy": ("prov:influencee", "prov:influencer"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasStartedBy": ("prov:activity",),
    "wasEndedBy": ("prov:activity",),
    "wasInvalidatedBy": ("prov:entity",),
    "actedOnBehalfOf": ("prov:delegate", "prov:responsible"),
    "specializationOf": ("prov:specificEntity", "prov:generalEntity"),
    "alternateOf": ("prov:alternate1", "prov:alternate2"),
    "hadMember": ("prov:collection", "prov:entity"),
}
"""The relations of PROV-JSON, each with the ends that it must have."""
_ENDS = frozenset(end for ends in RELATIONS.values() for end in ends) | {"prov:trigger", "prov:plan"}
"""Members whose values are names."""
_TIMES = frozenset({"prov:time", "prov:startTime", "prov:endTime"})
_NODES = ("entity", "activity", "agent")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*):[^\s\"'<>]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_KNOWN = {"prov": "http://www.w3.org/ns/prov#", "xsd": "http://www.w3.org/2001/XMLSchema#"}


class NotProvenance(ValueError):
    """The file is no PROV-JSON; the text says what is wrong."""


def internal_bundle(content: bytes) -> dict[str, Any]:
    """Return the content of ``provenance.json`` as a bundle, without secrets in its texts (P-011).

    Raises
    ------
    NotProvenance
        It is too large, or no PROV-JSON.
    """
    if len(content) > BYTES_MAX:
        raise NotProvenance(f"it has more than {BYTES_MAX} bytes")
    try:
        document = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NotProvenance("it is no JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise NotProvenance("it is no JSON object")
    reader = _Reader(_prefixes(document.get("prefix", {})))
    bundle: dict[str, Any] = {"prefix": reader.prefixes} if reader.prefixes else {}
    for kind, records in document.items():
        if kind == "prefix":
            continue
        if kind not in _NODES and kind not in RELATIONS:
            raise NotProvenance(f"{kind[:40]!r} is no member of PROV-JSON that a bundle has")
        bundle[kind] = reader.records(kind, records)
    if reader.count == 0:
        raise NotProvenance("it says nothing")
    return bundle


def _no_number(text: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(text)


def _prefixes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise NotProvenance("prefix must be an object")
    for prefix, namespace in value.items():
        if (
            not _PREFIX.fullmatch(prefix)
            or not isinstance(namespace, str)
            or not re.fullmatch(r"\S{1,1000}", namespace)
        ):
            raise NotProvenance(f"the prefix {prefix[:40]!r} or its namespace can't be used")
        if _KNOWN.get(prefix, namespace) != namespace:
            raise NotProvenance(f"the prefix {prefix} means {_KNOWN[prefix]}")
    return {prefix: redacted(namespace) for prefix, namespace in value.items()}


class _Reader:
    """Checks records, and copies them."""

    def __init__(self, prefixes: dict[str, str]) -> None:
        self.prefixes = prefixes
        self.count = 0

    def records(self, kind: str, records: Any) -> dict[str, Any]:
        """Return the records of a kind by their names."""
        if not isinstance(records, dict):
            raise NotProvenance(f"{kind} must be an object")
        copies: dict[str, Any] = {}
        for name, record in records.items():
            if kind in _NODES or not name.startswith("_:"):
                self._name(name)
            elif not re.fullmatch(r"_:[A-Za-z0-9_.-]{1,100}", name):
                raise NotProvenance(f"{name[:40]!r} is no name")
            parts = record if isinstance(record, list) else [record]
            checked = [self._record(kind, part) for part in parts]
            copies[name] = checked if isinstance(record, list) else checked[0]
        return copies

    def _record(self, kind: str, record: Any) -> dict[str, Any]:
        self.count += 1
        if self.count > RECORDS_MAX:
            raise NotProvenance(f"it has more than {RECORDS_MAX} records")
        if not isinstance(record, dict):
            raise NotProvenance(f"{kind}: each record must be an object")
        if missing := [end for end in RELATIONS.get(kind, ()) if end not in record]:
            raise NotProvenance(f"{kind} needs {' and '.join(missing)}")
        return {self._name(name): self._member(name, value) for name, value in record.items()}

    def _member(self, name: str, value: Any) -> Any:
        if name in _ENDS:
            return self._name(value)
        if name in _TIMES:
            if not isinstance(value, str) or not _TIME.fullmatch(value):
                raise NotProvenance(f"{name} must be an instant such as 2026-11-28T12:00:00Z")
            return value
        return [self._value(part) for part in value] if isinstance(value, list) else self._value(value)

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return redacted(value)
            case bool() | int() | float():
                return value
            case {"$": str(text), "type": "prov:QUALIFIED_NAME", **rest} if not rest:
                return {"$": self._name(text), "type": "prov:QUALIFIED_NAME"}
            case {"$": str(text), "type": str(kind), **rest} if not rest:
                return {"$": redacted(text), "type": self._name(kind)}
            case {"$": str(text), "lang": str(language), **rest} if not rest and len(language) < 36:
                return {"$": redacted(text), "lang": language}
        raise NotProvenance(f"{json.dumps(value)[:60]} is no value of PROV-JSON")

    def _name(self, name: Any) -> str:
        """Return a qualified name whose prefix is declared."""
        match = _NAME.fullmatch(name) if isinstance(name, str) and len(name) <= 1000 else None
        if match is None:
            raise NotProvenance(f"{str(name)[:40]!r} is no qualified name")
        if match[1] not in self.prefixes and match[1] not in _KNOWN:
            raise NotProvenance(f"the prefix {match[1][:40]} is not declared")
        return str(name)
