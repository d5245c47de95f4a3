"""Conditions of the syntax tree to SQL (ADQL 2.1 §2.2.4)."""

from __future__ import annotations

from abc import abstractmethod

from uws_service.adql import types
from uws_service.adql.errors import Fault
from uws_service.adql.expressions import Expressions
from uws_service.adql.model import Column
from uws_service.adql.scope import Scope
from uws_service.adql.syntax import Between, Comparison, Condition, Exists, In, IsNull, Like, Logical, Not, Query
from uws_service.adql.translated import Translated, made, must_be_string, must_be_time
from uws_service.adql.types import GEOMETRIES, NUMBERS, STRINGS, in_words


class Conditions(Expressions):
    _negated = False  # within NOT, where an index helps nothing

    @abstractmethod
    def subquery(self, query: Query, scope: Scope) -> tuple[str, tuple[Column, ...], tuple[str, ...]]:
        """SQL, columns and types of a query within another one."""

    def condition(self, node: Condition, scope: Scope) -> Translated:
        """A condition as a value of type boolean; raises `Fault`."""
        match node:
            case Logical():
                spread = self.shapes.spread
                with spread.allowing(spread.allowed if node.operator == "AND" else frozenset()):
                    parts = [self.condition(c, scope) for c in node.conditions]
                return made("(" + f" {node.operator} ".join(p.sql for p in parts) + ")", "boolean", node.at, *parts)
            case Not():
                around, self._negated = self._negated, True
                with self.shapes.spread.allowing(frozenset()):
                    inner = self.condition(node.condition, scope)
                self._negated = around
                return made(f"(NOT {inner.sql})", "boolean", node.at, inner)
            case Comparison():
                return self._comparison(node, scope)
            case Between():
                value, low, high = (self.value(v, scope) for v in (node.value, node.low, node.high))
                self._comparable("BETWEEN", value, low, low.at, sized=True)
                self._comparable("BETWEEN", value, high, high.at, sized=True)
                word = "NOT BETWEEN" if node.negated else "BETWEEN"
                texts = [self._side(v, value if v is not value else low) for v in (value, low, high)]
                return made(f"({texts[0]} {word} {texts[1]} AND {texts[2]})", "boolean", node.at, value, low, high)
            case Like():
                return self._like(node, scope)
            case IsNull():
                value = self.value(node.value, scope)
                word = "IS NOT NULL" if node.negated else "IS NULL"
                return made(f"({value.sql} {word})", "boolean", node.at, value)
            case In():
                return self._in(node, scope)
            case Exists():
                sql, _, _ = self.subquery(node.query, scope)
                return made(f"(EXISTS ({sql}))", "boolean", node.at)

    def _comparison(self, node: Comparison, scope: Scope) -> Translated:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        for one, other in ((left, right), (right, left)):
            if one.test is not None and other.number in (0, 1) and node.operator in ("=", "<>"):
                true = (other.number == 1) == (node.operator == "=")
                test = one.test if true else f"(NOT {one.test})"
                if true and one.beside and not self._negated:
                    test = f"({one.beside} AND {test})"
                return made(test, "boolean", node.at, one, other)
        self._comparable(node.operator, left, right, node.at, sized=node.operator not in ("=", "<>"))
        sql = f"({self._side(left, right)} {node.operator} {self._side(right, left)})"
        beside = self._index(node.operator, left, right)
        return made(f"({beside} AND {sql})" if beside else sql, "boolean", node.at, left, right)

    def _index(self, operator: str, left: Translated, right: Translated) -> str | None:
        if self._negated:
            return None
        if operator in ("<", "<="):
            return self.shapes.distance_index(left, right)
        if operator in (">", ">="):
            return self.shapes.distance_index(right, left)
        return None

    def _comparable(self, what: str, left: Translated, right: Translated, at: int, sized: bool) -> None:
        kinds = {left.type, right.type}
        for value in (left, right):
            if value.type in GEOMETRIES:
                raise Fault(
                    f"{what} can't compare {in_words(value.type)}", value.at, "Use CONTAINS, INTERSECTS or DISTANCE."
                )
            if value.type == "other":
                raise Fault(f"{what} can't compare {in_words(value.type)}", value.at)
        if types.common(left.type, right.type) is not None:
            return
        if "timestamp" in kinds and any(v.type in STRINGS and v.literal for v in (left, right)):
            return
        if "boolean" in kinds and any(v.number in (0, 1) and v.literal for v in (left, right)):
            return
        hint = "CAST changes the type of a value." if kinds & set(STRINGS) and kinds & set(NUMBERS) else ""
        raise Fault(f"{what} can't compare {in_words(left.type)} with {in_words(right.type)}", at, hint)

    def _side(self, value: Translated, other: Translated) -> str:
        if other.type == "timestamp" and value.type in STRINGS:
            must_be_time(value)
            return self.sql.cast(value, "timestamp")
        if other.type == "boolean" and value.number is not None:
            return "TRUE" if value.number else "FALSE"
        if value.type == "null" and other.type not in ("null", "other"):
            return self.sql.cast(value, other.type)
        if value.type == "double" and value.number is not None:
            return self.sql.double(value)
        return self.sql.ordered(value.sql, value.type)

    def _like(self, node: Like, scope: Scope) -> Translated:
        value, pattern = self.value(node.value, scope), self.value(node.pattern, scope)
        what = "ILIKE" if node.caseless else "LIKE"
        for side in (value, pattern):
            must_be_string(side, what)
        left, right = (self.sql.cast(v, "char") if v.type == "null" else v.sql for v in (value, pattern))
        # No character escapes another one in ADQL.
        word = f"NOT {what}" if node.negated else what
        return made(f"({left} {word} {right} ESCAPE '')", "boolean", node.at, value, pattern)

    def _in(self, node: In, scope: Scope) -> Translated:
        value = self.value(node.value, scope)
        word = "NOT IN" if node.negated else "IN"
        if isinstance(node.among, Query):
            sql, columns, kinds = self.subquery(node.among, scope)
            if len(columns) != 1:
                raise Fault(f"the subquery of IN has {len(columns)} columns", node.among.at, "It must have one.")
            self._comparable("IN", value, Translated("", kinds[0], node.at), node.at, sized=False)
            return made(f"({value.sql} {word} ({sql}))", "boolean", node.at, value)
        among = [self.value(v, scope) for v in node.among]
        for one in among:
            self._comparable("IN", value, one, one.at, sized=False)
        sides = ", ".join(self._side(v, value) for v in among)
        return made(f"({self._side(value, among[0])} {word} ({sides}))", "boolean", node.at, value, *among)
