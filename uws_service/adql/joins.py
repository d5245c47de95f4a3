"""NATURAL JOIN and USING, written out: the condition, and each common column once (SQL-92 §7.5)."""

from __future__ import annotations

from dataclasses import replace

from uws_service.adql.errors import Fault
from uws_service.adql.scope import Field, Visible, column_hint, same
from uws_service.adql.syntax import Join, Name
from uws_service.adql.types import common, in_words


def joined(node: Join, left: Visible, right: Visible) -> tuple[str, tuple[Field, ...]]:
    """The condition in SQL and the columns in order: common ones, the left's others, the right's others."""
    pairs = _natural(node, left, right) if node.natural else [_pair(n, left, right) for n in node.using]
    conditions: list[str] = []
    merged: list[Field] = []
    for one, other in pairs:
        if common(one.type, other.type) is None:
            both = f"{in_words(one.type)} and {in_words(other.type)}"
            raise Fault(f"the common column '{one.name}' is {both}", node.at)
        conditions.append(f"{one.sql} = {other.sql}")
        merged.append(_merged(node, one, other))
    used = {id(f) for pair in pairs for f in pair}
    rest = [f for f in (*left.fields, *right.fields) if id(f) not in used]
    return " AND ".join(conditions) or "1 = 1", (*merged, *rest)


def _merged(node: Join, one: Field, other: Field) -> Field:
    if node.kind == "RIGHT":
        return other
    if node.kind == "FULL":
        return replace(one, sql=f"COALESCE({one.sql}, {other.sql})", origin=None)
    return one


def _pair(name: Name, left: Visible, right: Visible) -> tuple[Field, Field]:
    found: list[Field] = []
    for side, word in ((left, "left"), (right, "right")):
        fields = [f for f in side.fields if same(name, f.name, f.delimited)]
        if not fields:
            raise Fault(
                f"the {word} side of the JOIN has no column '{name.text}'", name.at, column_hint(name, side.fields)
            )
        if len(fields) > 1:
            raise Fault(f"'{name.text}' is ambiguous on the {word} side of the JOIN", name.at)
        found.append(fields[0])
    return found[0], found[1]


def _natural(node: Join, left: Visible, right: Visible) -> list[tuple[Field, Field]]:
    pairs: list[tuple[Field, Field]] = []
    for one in left.fields:
        others = [
            f
            for f in right.fields
            if f.name == one.name or (f.name.lower() == one.name.lower() and not (f.delimited or one.delimited))
        ]
        if not others:
            continue
        again = [f for f in left.fields if f is not one and f.name.lower() == one.name.lower()]
        if len(others) > 1 or again:
            raise Fault(f"the common column '{one.name}' of the NATURAL JOIN is ambiguous", node.at, "Use ON or USING.")
        pairs.append((one, others[0]))
    return pairs
