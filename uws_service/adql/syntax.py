"""The syntax tree of ADQL 2.1 (appendix A). Pure data.

``at`` is the place in the text, in characters from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier; delimited ones keep their case."""

    text: str
    delimited: bool
    at: int


@dataclass(frozen=True, slots=True)
class Number:
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class String:
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Constant:
    """NULL, TRUE or FALSE."""

    value: bool | None
    at: int


@dataclass(frozen=True, slots=True)
class ColumnName:
    """``column``, ``table.column`` or ``schema.table.column``."""

    parts: tuple[Name, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function by its name in upper case."""

    name: str
    arguments: tuple[Value, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A set function; without argument it is ``COUNT(*)``."""

    name: str
    argument: Value | None
    distinct: bool
    at: int


@dataclass(frozen=True, slots=True)
class Cast:
    value: Value
    target: str
    length: int | None
    at: int


@dataclass(frozen=True, slots=True)
class Sign:
    sign: Literal["+", "-"]
    value: Value
    at: int


@dataclass(frozen=True, slots=True)
class Operation:
    """``+ - * / ||``.

    ``at`` is the operator's place.
    """

    operator: str
    lhs: Value
    rhs: Value
    at: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A subquery in place of a value."""

    query: Query
    at: int


Value = Number | String | Constant | ColumnName | Call | Aggregate | Cast | Sign | Operation | Scalar


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: str
    lhs: Value
    rhs: Value
    at: int


@dataclass(frozen=True, slots=True)
class Between:
    value: Value
    low: Value
    high: Value
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class In:
    value: Value
    members: tuple[Value, ...] | Query
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Like:
    value: Value
    pattern: Value
    ignore_case: bool
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class IsNull:
    value: Value
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Exists:
    query: Query
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition
    at: int


@dataclass(frozen=True, slots=True)
class Logical:
    """AND or OR of two or more."""

    operator: Literal["AND", "OR"]
    conditions: tuple[Condition, ...]
    at: int


Condition = Comparison | Between | In | Like | IsNull | Exists | Not | Logical


@dataclass(frozen=True, slots=True)
class TableName:
    parts: tuple[Name, ...]
    alias: Name | None
    at: int


@dataclass(frozen=True, slots=True)
class Derived:
    """A subquery in FROM."""

    query: Query
    alias: Name
    at: int


@dataclass(frozen=True, slots=True)
class Join:
    left_side: Source
    right_side: Source
    kind: Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
    natural: bool
    on: Condition | None
    using: tuple[Name, ...]
    at: int


Source = TableName | Derived | Join


@dataclass(frozen=True, slots=True)
class Item:
    """A column of the select list."""

    value: Value
    alias: Name | None
    at: int


@dataclass(frozen=True, slots=True)
class Star:
    """``*`` or ``table.*``."""

    parts: tuple[Name, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    items: tuple[Item | Star, ...]
    distinct: bool
    top: int | None
    sources: tuple[Source, ...]
    condition: Condition | None
    group: tuple[Value, ...]
    having: Condition | None
    at: int


@dataclass(frozen=True, slots=True)
class SetOperation:
    operator: Literal["UNION", "EXCEPT", "INTERSECT"]
    all: bool
    lhs: Body
    rhs: Body
    at: int


@dataclass(frozen=True, slots=True)
class Order:
    value: Value
    descending: bool
    at: int


@dataclass(frozen=True, slots=True)
class Query:
    body: Body
    order: tuple[Order, ...]
    offset: int | None
    common: tuple[tuple[Name, Query], ...]
    at: int


Body = Select | SetOperation | Query
