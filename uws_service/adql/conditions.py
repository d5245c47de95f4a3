"""Conditions of the syntax tree to SQL (ADQL 2.1 §2.2.4)."""

from __future__ import annotations

from abc import abstractmethod

from uws_service.adql import types
from uws_service.adql.errors import Fault
from uws_service.adql.expressions import Expressions
from uws_service.adql.model import Column
from uws_service.adql.scope import Scope
from uws_service.adql.syntax import Between, Comparison, Condition, Exists, In, IsNull, Like, Logical, Not, Query
from uws_service.adql.translated import Translated, compose, must_be_string, must_be_time
from uws_service.adql.types import GEOMETRIES, NUMBERS, STRINGS, in_words


class Conditions(Expressions):
    """Translates conditions; what a query is, `queries` knows."""

    _negated = False  # within NOT, where an index helps nothing

    @abstractmethod
    def subquery(self, query: Query, scope: Scope) -> tuple[str, tuple[Column, ...], tuple[str, ...]]:
        """Return SQL, columns and types of a subquery."""

    def condition(self, node: Condition, scope: Scope) -> Translated:
        """Translate a condition; raises `Fault`."""
        match node:
            case Logical():
                spread = self.geometry.spread
                with spread.allowing(spread.allowed if node.operator == "AND" else frozenset()):
                    parts = [self.condition(c, scope) for c in node.conditions]
                return compose("(" + f" {node.operator} ".join(p.sql for p in parts) + ")", "boolean", node.at, *parts)
            case Not():
                outer_negated, self._negated = self._negated, True
                with self.geometry.spread.allowing(frozenset()):
                    inner = self.condition(node.condition, scope)
                self._negated = outer_negated
                return compose(f"(NOT {inner.sql})", "boolean", node.at, inner)
            case Comparison():
                return self._comparison(node, scope)
            case Between():
                value, low, high = (self.value(v, scope) for v in (node.value, node.low, node.high))
                self._comparable("BETWEEN", value, low, low.at)
                self._comparable("BETWEEN", value, high, high.at)
                operator = "NOT BETWEEN" if node.negated else "BETWEEN"
                texts = [self._side(v, value if v is not value else low) for v in (value, low, high)]
                return compose(
                    f"({texts[0]} {operator} {texts[1]} AND {texts[2]})", "boolean", node.at, value, low, high
                )
            case Like():
                return self._like(node, scope)
            case IsNull():
                value = self.value(node.value, scope)
                operator = "IS NOT NULL" if node.negated else "IS NULL"
                return compose(f"({value.sql} {operator})", "boolean", node.at, value)
            case In():
                return self._in(node, scope)
            case Exists():
                sql, _, _ = self.subquery(node.query, scope)
                return compose(f"(EXISTS ({sql}))", "boolean", node.at)

    def _comparison(self, node: Comparison, scope: Scope) -> Translated:
        lhs, rhs = self.value(node.lhs, scope), self.value(node.rhs, scope)
        for value, partner in ((lhs, rhs), (rhs, lhs)):
            if value.condition is not None and partner.number in (0, 1) and node.operator in ("=", "<>"):
                holds = (partner.number == 1) == (node.operator == "=")
                condition = value.condition if holds else f"(NOT {value.condition})"
                if holds and value.index and not self._negated:
                    condition = f"({value.index} AND {condition})"
                return compose(condition, "boolean", node.at, value, partner)
        self._comparable(node.operator, lhs, rhs, node.at)
        sql = f"({self._side(lhs, rhs)} {node.operator} {self._side(rhs, lhs)})"
        index = self._index(node.operator, lhs, rhs)
        return compose(f"({index} AND {sql})" if index else sql, "boolean", node.at, lhs, rhs)

    def _index(self, operator: str, lhs: Translated, rhs: Translated) -> str | None:
        if self._negated:
            return None
        if operator in ("<", "<="):
            return self.geometry.distance_index(lhs, rhs)
        if operator in (">", ">="):
            return self.geometry.distance_index(rhs, lhs)
        return None

    def _comparable(self, operator: str, lhs: Translated, rhs: Translated, at: int) -> None:
        kinds = {lhs.type, rhs.type}
        for value in (lhs, rhs):
            if value.type in GEOMETRIES:
                raise Fault(
                    f"{operator} can't compare {in_words(value.type)}",
                    value.at,
                    "Use CONTAINS, INTERSECTS or DISTANCE.",
                )
            if value.type == "other":
                raise Fault(f"{operator} can't compare {in_words(value.type)}", value.at)
        if types.common(lhs.type, rhs.type) is not None:
            return
        if "timestamp" in kinds and any(v.type in STRINGS and v.literal for v in (lhs, rhs)):
            return
        if "boolean" in kinds and any(v.number in (0, 1) and v.literal for v in (lhs, rhs)):
            return
        hint = "CAST changes the type of a value." if kinds & set(STRINGS) and kinds & set(NUMBERS) else ""
        raise Fault(f"{operator} can't compare {in_words(lhs.type)} with {in_words(rhs.type)}", at, hint)

    def _side(self, value: Translated, partner: Translated) -> str:
        if partner.type == "timestamp" and value.type in STRINGS:
            must_be_time(value)
            return self.sql.cast(value, "timestamp")
        if partner.type == "boolean" and value.number is not None:
            return "TRUE" if value.number else "FALSE"
        if value.type == "null" and partner.type not in ("null", "other"):
            return self.sql.cast(value, partner.type)
        if value.type == "double" and value.number is not None:
            return self.sql.double(value)
        return self.sql.ordered(value.sql, value.type)

    def _like(self, node: Like, scope: Scope) -> Translated:
        value, pattern = self.value(node.value, scope), self.value(node.pattern, scope)
        operator = "ILIKE" if node.ignore_case else "LIKE"
        for side in (value, pattern):
            must_be_string(side, operator)
        lhs, rhs = (self.sql.cast(v, "char") if v.type == "null" else v.sql for v in (value, pattern))
        # No character escapes another one in ADQL.
        word = f"NOT {operator}" if node.negated else operator
        return compose(f"({lhs} {word} {rhs} ESCAPE '')", "boolean", node.at, value, pattern)

    def _in(self, node: In, scope: Scope) -> Translated:
        value = self.value(node.value, scope)
        word = "NOT IN" if node.negated else "IN"
        if isinstance(node.members, Query):
            sql, columns, types = self.subquery(node.members, scope)
            if len(columns) != 1:
                raise Fault(f"the subquery of IN has {len(columns)} columns", node.members.at, "It must have one.")
            self._comparable("IN", value, Translated("", types[0], node.at), node.at)
            return compose(f"({value.sql} {word} ({sql}))", "boolean", node.at, value)
        members = [self.value(v, scope) for v in node.members]
        for member in members:
            self._comparable("IN", value, member, member.at)
        sides = ", ".join(self._side(v, value) for v in members)
        return compose(f"({self._side(value, members[0])} {word} ({sides}))", "boolean", node.at, value, *members)
