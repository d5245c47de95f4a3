"""A provenance graph: entities, activities, agents, and how they are related (W3C PROV-DM).

Names are made so that they need no escape in either form: what a qualified name can't hold is percent-encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

Kind = Literal["entity", "activity", "agent"]
RelationKind = Literal[
    "used",
    "wasGeneratedBy",
    "wasAssociatedWith",
    "wasAttributedTo",
    "wasDerivedFrom",
    "wasInformedBy",
    "wasInfluencedBy",
    "hadMember",
]

VOPROV = "http://www.ivoa.net/documents/ProvenanceDM/index.html#"
"""As the package voprov has it (P-021)."""
TERMS = "urn:uws-service:provenance:1#"
"""Attributes that neither W3C nor IVOA name."""
_SAFE = "/~@_-."


class Name(NamedTuple):
    """A qualified name."""

    prefix: str
    local: str

    @property
    def text(self) -> str:
        """Return it as documents write it."""
        return f"{self.prefix}:{self.local}"


class Uri(NamedTuple):
    """A value that is a URI."""

    text: str


class Time(NamedTuple):
    """A value that is an instant in milliseconds since the epoch."""

    ms: int


Value = str | int | Name | Uri | Time
Pairs = list[tuple[str, Value | None]]
Attributes = tuple[tuple[str, Value], ...]


def attributes(pairs: Iterable[tuple[str, Value | None]]) -> Attributes:
    """Return the pairs that have a value, by their names."""
    return tuple(
        sorted(((name, value) for name, value in pairs if value is not None and value != ""), key=lambda pair: pair[0])
    )


@dataclass(frozen=True, slots=True)
class Node:
    """An entity, an activity or an agent.

    Instants in milliseconds.
    """

    kind: Kind
    name: Name
    attributes: Attributes = ()
    started: int | None = None
    ended: int | None = None

    @property
    def is_bare(self) -> bool:
        """Return whether nothing is said of it but that it is there."""
        return not self.attributes and self.started is None and self.ended is None


@dataclass(frozen=True, slots=True)
class Relation:
    """How two nodes are related.

    ``plan`` of an association, ``time`` in milliseconds.
    """

    kind: RelationKind
    first: Name
    second: Name
    attributes: Attributes = ()
    time: int | None = None
    plan: Name | None = None


@dataclass(slots=True)
class Graph:
    """Nodes and relations, each once.

    Parameters
    ----------
    base
        The service's public URL without a slash at the end: names of what it has are below.
    """

    base: str
    nodes: dict[tuple[Kind, Name], Node] = field(default_factory=dict)
    relations: dict[Relation, None] = field(default_factory=dict)
    bundles: dict[Name, Mapping[str, Any]] = field(default_factory=dict)
    """What others say, by the name of the entity that holds it, as PROV-JSON."""
    _foreign: dict[str, str] = field(default_factory=dict)

    @property
    def prefixes(self) -> Mapping[str, str]:
        """Return namespaces by prefix."""
        own = {
            "service": f"{self.base}/",
            "user": "urn:uws-service:user:",
            "site": "urn:uws-service:site:",
            "image": "urn:uws-service:image:",
            "software": "urn:uws-service:software:",
            "uws": TERMS,
            "voprov": VOPROV,
        }
        return own | {prefix: namespace for namespace, prefix in self._foreign.items()}

    def add(self, node: Node) -> Name:
        """Add a node; of two with one name that stays of which more is said."""
        key = node.kind, node.name
        present = self.nodes.get(key)
        if present is None or (present.is_bare and not node.is_bare):
            self.nodes[key] = node
        return node.name

    def relate(
        self,
        kind: RelationKind,
        first: Name,
        second: Name,
        pairs: Iterable[tuple[str, Value | None]] = (),
        *,
        time: int | None = None,
        plan: Name | None = None,
    ) -> None:
        """Add a relation."""
        self.relations[Relation(kind, first, second, attributes(pairs), time, plan)] = None

    def foreign(self, uri: str) -> Name | None:
        """Return the name of a URI of somewhere else; None for one that has no good end."""
        head, slash, tail = uri.rpartition("/")
        if uri.startswith("ivo:") and "?" in uri:
            head, slash, tail = uri.rpartition("?")
        if "://" not in head or not tail or tail[0] in ".-" or tail[-1] == ".":
            return None
        if quote(tail, safe="-_~.", errors="replace") != tail:
            return None
        prefix = self._foreign.setdefault(head + slash, f"data{len(self._foreign) + 1}")
        return Name(prefix, tail)


def local(text: str) -> str:
    """Return a text as the local part of a name."""
    escaped = quote(text, safe=_SAFE, errors="replace")
    if escaped.startswith(("-", ".")):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return f"{escaped[:-1]}%2E" if escaped.endswith(".") else escaped
