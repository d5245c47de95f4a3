"""What a query gives: its columns, and the small rules about what it may list, group and sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from uws_service.adql import types
from uws_service.adql.errors import Fault
from uws_service.adql.model import Column
from uws_service.adql.physical import identifier
from uws_service.adql.scope import Field, Relation, Scope, Visible, same
from uws_service.adql.syntax import Aggregate, Call, Cast, ColumnName, Name, Number, Operation, Sign, Value
from uws_service.adql.translated import Translated
from uws_service.adql.types import type_of


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a query gives."""

    name: str
    delimited: bool
    column: Column
    type: str


@dataclass(frozen=True, slots=True)
class Written:
    """A query in SQL, with its columns c1, c2 …"""

    sql: str
    outputs: tuple[Output, ...]
    limit: int | None = None


def derived(name: Name, alias: str, outputs: tuple[Output, ...]) -> Visible:
    """What a subquery with a name shows."""
    fields = tuple(
        Field(o.name, o.delimited, f"{alias}.{identifier(f'c{number}')}", o.column, o.type)
        for number, o in enumerate(outputs, 1)
    )
    return Visible((Relation(name, None, fields),), fields)


def different(relations: Sequence[Relation]) -> None:
    """Refuse two tables of the same name in one FROM."""
    seen: set[tuple[str, str]] = set()
    for relation in relations:
        if relation.alias is not None:
            key = ("alias", relation.alias.text if relation.alias.delimited else relation.alias.text.lower())
        else:
            key = ("table", relation.table.full_name if relation.table else "")
        if key in seen:
            at = relation.alias.at if relation.alias else relation.at
            raise Fault(f"FROM has '{key[1]}' twice", at, "Give the tables different names with AS.")
        seen.add(key)


def result_column(value: Translated, name: str) -> Column:
    """What is known about a column of a result."""
    plain = types.column_of(value.type, name)
    if value.words is None:
        return plain
    if value.type == "other":
        return replace(value.words, name=name)
    if value.words.name and type_of(value.words) == value.type:
        return replace(value.words, name=name)
    return replace(plain, unit=value.words.unit, ucd=value.words.ucd, description=value.words.description)


def ordinal(value: Value, count: int) -> int | None:
    """The number of a result's column that ORDER BY names."""
    if not isinstance(value, Number):
        return None
    if not value.text.isdigit() or not 1 <= int(value.text) <= count:
        raise Fault(f"ORDER BY {value.text} names no column", value.at, f"The result has {count}.")
    return int(value.text)


def aggregates(value: Value) -> bool:
    """Whether a value has an aggregate in it."""
    match value:
        case Aggregate():
            return True
        case Call():
            return any(aggregates(a) for a in value.arguments)
        case Operation():
            return aggregates(value.left) or aggregates(value.right)
        case Cast() | Sign():
            return aggregates(value.value)
        case _:
            return False


def is_alias(term: Value, alias: Name) -> bool:
    """Whether a value is just that name."""
    return isinstance(term, ColumnName) and len(term.parts) == 1 and same(term.parts[0], alias.text, alias.delimited)


def must_be_grouped(value: Translated, scope: Scope) -> None:
    """Refuse columns that are neither grouped by nor within an aggregate."""
    loose = sorted((at, sql) for number, sql, at in value.free if number == scope.number)
    for at, _ in loose:
        hint = "Name it in GROUP BY, or put it into COUNT, SUM, AVG, MIN or MAX."
        raise Fault("this column has more than one value in a group", at, hint)


def tail(keys: list[str], offset: int | None, limit: int | None) -> str:
    """ORDER BY, OFFSET and LIMIT, in the order that lets LIMIT be replaced."""
    sql = f" ORDER BY {', '.join(keys)}" if keys else ""
    sql += f" OFFSET {offset}" if offset is not None else ""
    return sql + (f" LIMIT {limit}" if limit is not None else "")
