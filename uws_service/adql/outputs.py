"""The columns that a query returns.

With them come the small rules about what it may list, group, combine and sort by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from uws_service.adql import types
from uws_service.adql.errors import Fault
from uws_service.adql.model import Column
from uws_service.adql.physical import identifier
from uws_service.adql.scope import Field, Relation, Scope, Visible, matches
from uws_service.adql.syntax import (
    Aggregate,
    Call,
    Cast,
    ColumnName,
    Name,
    Number,
    Operation,
    Order,
    SetOperation,
    Sign,
    Value,
)
from uws_service.adql.translated import Sql, Translated
from uws_service.adql.types import in_words, type_of


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a query returns."""

    name: str
    delimited: bool
    column: Column
    type: str


@dataclass(frozen=True, slots=True)
class TranslatedQuery:
    """A query in SQL, with its columns c1, c2 …"""

    sql: str
    outputs: tuple[Output, ...]
    limit: int | None = None


def output_fields(alias: str, outputs: tuple[Output, ...]) -> tuple[Field, ...]:
    """Return the columns of a subquery for the outer one."""
    return tuple(
        Field(o.name, o.delimited, f"{alias}.{identifier(f'c{number}')}", o.column, o.type)
        for number, o in enumerate(outputs, 1)
    )


def named_subquery(name: Name, alias: str, outputs: tuple[Output, ...]) -> Visible:
    """Return what a subquery with a name makes visible."""
    fields = output_fields(alias, outputs)
    return Visible((Relation(name, None, fields),), fields)


def refuse_duplicates(relations: Sequence[Relation]) -> None:
    """Refuse two tables of the same name in one FROM."""
    keys: set[tuple[str, str]] = set()
    for relation in relations:
        if relation.alias is not None:
            key = ("alias", relation.alias.text if relation.alias.delimited else relation.alias.text.lower())
        else:
            key = ("table", relation.table.full_name if relation.table else "")
        if key in keys:
            at = relation.alias.at if relation.alias else relation.at
            raise Fault(f"FROM has '{key[1]}' twice", at, "Give the tables different names with AS.")
        keys.add(key)


def unique_outputs(values: Sequence[Translated], names: Sequence[tuple[str, bool]]) -> tuple[Output, ...]:
    """Return columns with unique names (TAP 1.1 §2.7.3, T-023)."""
    outputs: list[Output] = []
    used_names: set[str] = set()
    for value, (name, delimited) in zip(values, names, strict=True):
        unique, number = name, 1
        while unique.lower() in used_names:
            number += 1
            unique = f"{name}_{number}"
        used_names.add(unique.lower())
        outputs.append(Output(unique, delimited, result_column(value, unique), value.type))
    return tuple(outputs)


def result_column(value: Translated, name: str) -> Column:
    """Return a result's column, with what it inherits."""
    plain = types.column_of(value.type, name)
    metadata = value.metadata
    if metadata is None:
        return plain
    if value.type == "other":
        return replace(metadata, name=name)
    if metadata.name and type_of(metadata) == value.type:
        return replace(metadata, name=name)
    return replace(plain, unit=metadata.unit, ucd=metadata.ucd, description=metadata.description)


def common_outputs(node: SetOperation, lhs: TranslatedQuery, rhs: TranslatedQuery) -> tuple[Output, ...]:
    """Return the columns of a set operation, or raise `Fault`."""
    if len(lhs.outputs) != len(rhs.outputs):
        counts = f"{len(lhs.outputs)} and {len(rhs.outputs)}"
        raise Fault(f"the two sides of {node.operator} have {counts} columns", node.at, "They must have the same.")
    outputs: list[Output] = []
    for number, (output, partner) in enumerate(zip(lhs.outputs, rhs.outputs, strict=True), 1):
        kind = types.common(output.type, partner.type)
        if kind is None:
            kinds = f"{in_words(output.type)} and {in_words(partner.type)}"
            raise Fault(f"column {number} of the two sides of {node.operator} is {kinds}", node.at)
        column = replace(partner.column, name=output.name) if output.type == "null" else output.column
        if partner.type != "null":
            if kind == "other" and column.datatype != partner.column.datatype:
                arrays = f"arrays of {column.datatype} and of {partner.column.datatype}"
                raise Fault(f"column {number} of the two sides of {node.operator} has {arrays}", node.at)
            column = types.with_room(types.widened(column, kind), (types.widened(partner.column, kind),))
        outputs.append(replace(output, type=kind, column=column))
    return tuple(outputs)


def with_types(sql: Sql, query: TranslatedQuery, outputs: tuple[Output, ...]) -> str:
    """Return a query with columns cast to other types."""
    columns = []
    for number, (output, target) in enumerate(zip(query.outputs, outputs, strict=True), 1):
        name = identifier(f"c{number}")
        columns.append(
            name if output.type == target.type else f"CAST({name} AS {sql.type(target.type)}) AS {name}",
        )
    return f"SELECT {', '.join(columns)} FROM ({query.sql})"


def ordinal(value: Value, count: int) -> int | None:
    """Return the number of a column in ORDER BY."""
    if not isinstance(value, Number):
        return None
    if not value.text.isdigit() or not 1 <= int(value.text) <= count:
        raise Fault(f"ORDER BY {value.text} names no column", value.at, f"The result has {count}.")
    return int(value.text)


def has_aggregate(value: Value) -> bool:
    """Return whether a value contains an aggregate."""
    match value:
        case Aggregate():
            return True
        case Call():
            return any(has_aggregate(a) for a in value.arguments)
        case Operation():
            return has_aggregate(value.lhs) or has_aggregate(value.rhs)
        case Cast() | Sign():
            return has_aggregate(value.value)
        case _:
            return False


def is_alias(term: Value, alias: Name) -> bool:
    """Return whether a value is just that name."""
    return isinstance(term, ColumnName) and len(term.parts) == 1 and matches(term.parts[0], alias.text, alias.delimited)


def must_be_grouped(value: Translated, scope: Scope) -> None:
    """Refuse columns that have several values in a group."""
    loose = sorted((at, sql) for number, sql, at in value.free if number == scope.number)
    for at, _ in loose:
        hint = "Name it in GROUP BY, or put it into COUNT, SUM, AVG, MIN or MAX."
        raise Fault("this column has more than one value in a group", at, hint)


def sort_key(sql: Sql, value: Translated, term: Order) -> str:
    """Return a term of ORDER BY.

    NULL is the greatest value.
    """
    if value.type in ("other", *types.GEOMETRIES):
        raise Fault(f"ORDER BY can't sort {in_words(value.type)}", term.at)
    # As in PostgreSQL's own indexes.
    direction = "DESC NULLS FIRST" if term.descending else "ASC NULLS LAST"
    text = sql.cast(value, "char") if value.type == "null" else value.sql
    if value.literal and value.type in types.STRINGS:
        text = f"({text} || '')"
    elif value.literal and value.number is not None:
        text = f"({text} + 0)"
    return f"{sql.ordered(text, value.type)} {direction}"


def order_and_limit(keys: list[str], offset: int | None, limit: int | None) -> str:
    """Return ORDER BY, OFFSET and LIMIT, so that LIMIT can be replaced."""
    sql = f" ORDER BY {', '.join(keys)}" if keys else ""
    sql += f" OFFSET {offset}" if offset is not None else ""
    return sql + (f" LIMIT {limit}" if limit is not None else "")
