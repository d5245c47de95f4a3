"""Queries of the syntax tree to SQL.

SELECT, grouping, set operations, order, and the columns that come out.
Columns of results get names of ours (c1, c2 …), as tables get aliases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from uws_service.adql.errors import Fault
from uws_service.adql.from_clause import FromClause
from uws_service.adql.model import Column
from uws_service.adql.names import needs_quotes
from uws_service.adql.outputs import (
    Output,
    TranslatedQuery,
    common_outputs,
    has_aggregate,
    is_alias,
    must_be_grouped,
    order_and_limit,
    ordinal,
    output_fields,
    sort_key,
    unique_outputs,
    with_types,
)
from uws_service.adql.physical import identifier
from uws_service.adql.scope import Field, Scope, Visible, matches
from uws_service.adql.syntax import (
    Body,
    ColumnName,
    Item,
    Number,
    Order,
    Query,
    Select,
    SetOperation,
    Star,
    Value,
)
from uws_service.adql.translated import Translated
from uws_service.adql.types import in_words


class Queries(FromClause):
    """Translates whole queries."""

    def query(self, node: Query, parent: Scope | None) -> TranslatedQuery:
        with self.geometry.spread.allowing(frozenset()):
            return self._query(node, parent)

    def _query(self, node: Query, parent: Scope | None) -> TranslatedQuery:
        common_count = len(self._common)
        common: list[str] = []
        for name, query in node.common:
            if any(matches(name, n.text, n.delimited) for n, _, _ in self._common[common_count:]):
                raise Fault(f"WITH names '{name.text}' twice", name.at)
            result = self.query(query, None)
            alias = self.new_alias()
            common.append(f"{alias} AS ({result.sql})")
            self._common.append((name, alias, result.outputs))
        if isinstance(node.body, Select):
            result = self._select(node.body, node.order, node.offset, parent)
        else:
            result = self._sorted(self._body(node.body, parent), node.order, node.offset)
        del self._common[common_count:]
        if common:
            result = replace(result, sql=f"WITH {', '.join(common)} {result.sql}")
        return result

    def _body(self, node: Body, parent: Scope | None) -> TranslatedQuery:
        if isinstance(node, Query):
            return self.query(node, parent)
        if isinstance(node, Select):
            return self._select(node, (), None, parent)
        lhs, rhs = self._body(node.lhs, parent), self._body(node.rhs, parent)
        return self._set_operation(node, lhs, rhs)

    def _set_operation(self, node: SetOperation, lhs: TranslatedQuery, rhs: TranslatedQuery) -> TranslatedQuery:
        outputs = common_outputs(node, lhs, rhs)
        sides = [f"({with_types(self.sql, side, outputs)} AS {self.new_alias()})" for side in (lhs, rhs)]
        operator = f"{node.operator} ALL" if node.all else node.operator
        return TranslatedQuery(f"{sides[0]} {operator} {sides[1]}", outputs)

    def _sorted(
        self, query: TranslatedQuery, order: tuple[Order, ...], offset: int | None, limit: int | None = None
    ) -> TranslatedQuery:
        """Wrap a query to sort it by its columns."""
        alias = self.new_alias()
        fields = output_fields(alias, query.outputs)
        scope = self.new_scope(Visible((), fields), None)
        keys: list[str] = []
        for term in order:
            number = ordinal(term.value, len(fields))
            value = (
                Translated(fields[number - 1].sql, fields[number - 1].type, term.at)
                if number
                else self.value(term.value, scope)
            )
            keys.append(sort_key(self.sql, value, term))
        names = ", ".join(f.sql for f in fields)
        sql = f"SELECT {names} FROM ({query.sql}) AS {alias}" + order_and_limit(keys, offset, limit)
        return TranslatedQuery(sql, query.outputs, limit)

    def subquery(self, query: Query, scope: Scope) -> tuple[str, tuple[Column, ...], tuple[str, ...]]:
        result = self.query(query, scope)
        return result.sql, tuple(o.column for o in result.outputs), tuple(o.type for o in result.outputs)

    def scalar(self, query: Query, scope: Scope, at: int) -> Translated:
        result = self.query(query, scope)
        if len(result.outputs) != 1:
            raise Fault(f"the subquery has {len(result.outputs)} columns", at, "In place of a value it must have one.")
        return Translated(f"({result.sql})", result.outputs[0].type, at, result.outputs[0].column)

    def _select(
        self, node: Select, order: tuple[Order, ...], offset: int | None, parent: Scope | None
    ) -> TranslatedQuery:
        sources, visible = self.sources(node, parent)
        scope = self.new_scope(visible, parent)
        with self.geometry.spread.allowing(visible.inner):
            condition = self.condition(node.condition, scope).sql if node.condition else None
        groups = [self._group_term(term, node, scope) for term in node.group]
        if groups or node.having or any(isinstance(i, Item) and has_aggregate(i.value) for i in node.items):
            scope.grouped = frozenset(g.sql for g in groups)
        values, outputs = self._items(node, scope)
        with self.geometry.spread.allowing(frozenset()):
            having = self.condition(node.having, scope) if node.having else None
        keys = [self._order_value(term, values, outputs, scope) for term in order]
        if scope.grouped is not None:
            for value in (*values, *((having,) if having else ()), *keys):
                must_be_grouped(value, scope)
        columns = ", ".join(f"{v.sql} AS {identifier(f'c{number}')}" for number, v in enumerate(values, 1))
        sql = f"SELECT {'DISTINCT ' if node.distinct else ''}{columns}"
        sql += f" FROM {', '.join(sources)}" if sources else ""
        sql += f" WHERE {condition}" if condition else ""
        sql += f" GROUP BY {', '.join(g.sql for g in groups)}" if groups else ""
        sql += f" HAVING {having.sql}" if having else ""
        if node.distinct and order:
            return self._sorted_distinct(TranslatedQuery(sql, outputs), node, order, offset, values, keys)
        sort_keys = [sort_key(self.sql, k, t) for k, t in zip(keys, order, strict=True)]
        return TranslatedQuery(sql + order_and_limit(sort_keys, offset, node.top), outputs, node.top)

    def _sorted_distinct(
        self,
        query: TranslatedQuery,
        node: Select,
        order: tuple[Order, ...],
        offset: int | None,
        values: list[Translated],
        keys: list[Translated],
    ) -> TranslatedQuery:
        numbers = {v.sql: number for number, v in enumerate(values, 1)}
        terms: list[Order] = []
        for key, term in zip(keys, order, strict=True):
            if key.sql not in numbers:
                raise Fault("SELECT DISTINCT sorts by its own columns only", term.at)
            terms.append(replace(term, value=Number(str(numbers[key.sql]), term.at)))
        return self._sorted(query, tuple(terms), offset, node.top)

    def _group_term(self, term: Value, node: Select, scope: Scope) -> Translated:
        if isinstance(term, Number):
            raise Fault("GROUP BY takes columns and expressions, not numbers of columns", term.at)
        try:
            value = self.value(term, scope)
        except Fault:
            items = [i for i in node.items if isinstance(i, Item) and i.alias and is_alias(term, i.alias)]
            if not items:
                raise
            value = self.value(items[0].value, scope)
        if value.type == "other":
            raise Fault(f"GROUP BY can't take {in_words(value.type)}", value.at)
        return value

    def _items(self, node: Select, scope: Scope) -> tuple[list[Translated], tuple[Output, ...]]:
        values: list[Translated] = []
        names: list[tuple[str, bool]] = []
        for item in node.items:
            if isinstance(item, Star):
                for field in self._star(item, scope):
                    values.append(_field_value(field, item.at, scope))
                    names.append((field.name, field.delimited))
                continue
            value = self.value(item.value, scope)
            values.append(value)
            if item.alias is not None:
                names.append((item.alias.text, item.alias.delimited))
            elif isinstance(item.value, ColumnName):
                names.append((value.name, needs_quotes(value.name)))
            else:
                names.append((value.name or f"column_{len(values)}", False))
        return values, unique_outputs(values, names)

    def _star(self, item: Star, scope: Scope) -> Sequence[Field]:
        if item.parts:
            return scope.relation(item.parts, item.at).fields
        if not scope.visible.relations:
            raise Fault("'*' needs a FROM", item.at)
        return scope.visible.fields

    def _order_value(
        self, term: Order, values: list[Translated], outputs: tuple[Output, ...], scope: Scope
    ) -> Translated:
        """Return a column of the result, or another value."""
        if number := ordinal(term.value, len(values)):
            return values[number - 1]
        if isinstance(term.value, ColumnName) and len(term.value.parts) == 1:
            name = term.value.parts[0]
            for value, output in zip(values, outputs, strict=True):
                if matches(name, output.name, output.delimited):
                    return value
        if scope.grouped is None and has_aggregate(term.value):
            raise Fault("ORDER BY has an aggregate, but the rows are not grouped", term.at)
        return self.value(term.value, scope)


def _field_value(field: Field, at: int, scope: Scope) -> Translated:
    free = frozenset({(scope.number, field.sql, at)})
    if scope.grouped is not None and field.sql in scope.grouped:
        free = frozenset()
    return Translated(field.sql, field.type, at, field.column, free, origin=field.origin)
