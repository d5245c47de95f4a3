"""NATURAL JOIN and USING, written out (SQL-92 §7.5).

They become a condition, and each common column stands once.
"""

from __future__ import annotations

from dataclasses import replace

from uws_service.adql.errors import Fault
from uws_service.adql.scope import Field, Visible, column_hint, matches
from uws_service.adql.syntax import Join, Name
from uws_service.adql.types import common, in_words


def join_columns(node: Join, left_side: Visible, right_side: Visible) -> tuple[str, tuple[Field, ...]]:
    """Return the condition, and the columns in order.

    Common ones come first, then the other ones of the left side and those of the right side.
    """
    pairs = (
        _natural(node, left_side, right_side) if node.natural else [_pair(n, left_side, right_side) for n in node.using]
    )
    conditions: list[str] = []
    merged: list[Field] = []
    for left_field, right_field in pairs:
        if common(left_field.type, right_field.type) is None:
            kinds = f"{in_words(left_field.type)} and {in_words(right_field.type)}"
            raise Fault(f"the common column '{left_field.name}' is {kinds}", node.at)
        conditions.append(f"{left_field.sql} = {right_field.sql}")
        merged.append(_merged(node, left_field, right_field))
    used_ids = {id(f) for pair in pairs for f in pair}
    other_fields = [f for f in (*left_side.fields, *right_side.fields) if id(f) not in used_ids]
    return " AND ".join(conditions) or "1 = 1", (*merged, *other_fields)


def _merged(node: Join, left_field: Field, right_field: Field) -> Field:
    if node.kind == "RIGHT":
        return right_field
    if node.kind == "FULL":
        return replace(left_field, sql=f"COALESCE({left_field.sql}, {right_field.sql})", origin=None)
    return left_field


def _pair(name: Name, left_side: Visible, right_side: Visible) -> tuple[Field, Field]:
    fields: list[Field] = []
    for side, word in ((left_side, "left"), (right_side, "right")):
        candidates = [f for f in side.fields if matches(name, f.name, f.delimited)]
        if not candidates:
            raise Fault(
                f"the {word} side of the JOIN has no column '{name.text}'", name.at, column_hint(name, side.fields)
            )
        if len(candidates) > 1:
            raise Fault(f"'{name.text}' is ambiguous on the {word} side of the JOIN", name.at)
        fields.append(candidates[0])
    return fields[0], fields[1]


def _natural(node: Join, left_side: Visible, right_side: Visible) -> list[tuple[Field, Field]]:
    pairs: list[tuple[Field, Field]] = []
    for field in left_side.fields:
        candidates = [
            f
            for f in right_side.fields
            if f.name == field.name or (f.name.lower() == field.name.lower() and not (f.delimited or field.delimited))
        ]
        if not candidates:
            continue
        duplicates = [f for f in left_side.fields if f is not field and f.name.lower() == field.name.lower()]
        if len(candidates) > 1 or duplicates:
            raise Fault(
                f"the common column '{field.name}' of the NATURAL JOIN is ambiguous", node.at, "Use ON or USING."
            )
        pairs.append((field, candidates[0]))
    return pairs
