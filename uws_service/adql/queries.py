"""Queries of the syntax tree to SQL: FROM, joins, grouping, set operations, order, and the columns that come out.

Tables get aliases of ours (t1, t2 …) and so do columns of results (c1, c2 …): no name of a user or of a table's owner
decides what the SQL means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from uws_service.adql import types
from uws_service.adql.conditions import Conditions
from uws_service.adql.errors import Fault
from uws_service.adql.joins import joined
from uws_service.adql.model import Column, Table
from uws_service.adql.outputs import (
    Output,
    Written,
    aggregates,
    derived,
    different,
    is_alias,
    must_be_grouped,
    ordinal,
    result_column,
    tail,
)
from uws_service.adql.physical import bare, column_names, identifier, table_sql
from uws_service.adql.scope import Field, Origin, Relation, Scope, Visible, find_table, needs_quotes, same
from uws_service.adql.syntax import (
    Body,
    ColumnName,
    Condition,
    Derived,
    Item,
    Join,
    Name,
    Number,
    Order,
    Query,
    Select,
    SetOperation,
    Source,
    Star,
    TableName,
    Value,
)
from uws_service.adql.translated import Sql, Translated
from uws_service.adql.types import in_words, type_of

_MOST_SOURCES = 64


class Queries(Conditions):
    def __init__(self, sql: Sql, tables: Sequence[Table]) -> None:
        super().__init__(sql)
        self.tables = tables
        self.read: dict[str, None] = {}
        self._aliases = 0
        self._scopes = 0
        self._tables: dict[str, str] = {}
        self._common: list[tuple[Name, str, tuple[Output, ...]]] = []

    def complete(self, sql: str) -> str:
        """The SQL with its tables written in, which is possible when all its conditions are known."""
        for alias, table in self._tables.items():
            sql = sql.replace(f"\0{alias}\0", self.shapes.spread.tables.get(alias, table))
        return sql

    # Queries.

    def query(self, node: Query, parent: Scope | None) -> Written:
        """A whole query; raises `Fault`."""
        with self.shapes.spread.allowing(frozenset()):
            return self._query(node, parent)

    def _query(self, node: Query, parent: Scope | None) -> Written:
        before = len(self._common)
        common: list[str] = []
        for name, query in node.common:
            if any(same(name, n.text, n.delimited) for n, _, _ in self._common[before:]):
                raise Fault(f"WITH names '{name.text}' twice", name.at)
            written = self.query(query, None)
            alias = self._alias()
            common.append(f"{alias} AS ({written.sql})")
            self._common.append((name, alias, written.outputs))
        if isinstance(node.body, Select):
            written = self._select(node.body, node.order, node.offset, parent)
        else:
            written = self._body(node.body, parent)
            written = self._ordered(written, node.order, node.offset)
        del self._common[before:]
        if common:
            written = replace(written, sql=f"WITH {', '.join(common)} {written.sql}")
        return written

    def _body(self, node: Body, parent: Scope | None) -> Written:
        if isinstance(node, Query):
            return self.query(node, parent)
        if isinstance(node, Select):
            return self._select(node, (), None, parent)
        left, right = self._body(node.left, parent), self._body(node.right, parent)
        return self._combined(node, left, right)

    def _combined(self, node: SetOperation, left: Written, right: Written) -> Written:
        if len(left.outputs) != len(right.outputs):
            counts = f"{len(left.outputs)} and {len(right.outputs)}"
            raise Fault(f"the two sides of {node.operator} have {counts} columns", node.at, "They must have the same.")
        outputs: list[Output] = []
        for number, (one, other) in enumerate(zip(left.outputs, right.outputs, strict=True), 1):
            kind = types.common(one.type, other.type)
            if kind is None:
                both = f"{in_words(one.type)} and {in_words(other.type)}"
                raise Fault(f"column {number} of the two sides of {node.operator} is {both}", node.at)
            outputs.append(replace(one, type=kind, column=types.widened(one.column, kind)))
        sides = []
        for side in (left, right):
            names = [
                identifier(f"c{number}")
                if had.type == wanted.type
                else f"CAST({identifier(f'c{number}')} AS {self.sql.type(wanted.type)}) AS {identifier(f'c{number}')}"
                for number, (had, wanted) in enumerate(zip(side.outputs, outputs, strict=True), 1)
            ]
            sides.append(f"(SELECT {', '.join(names)} FROM ({side.sql}) AS {self._alias()})")
        word = f"{node.operator} ALL" if node.all else node.operator
        return Written(f"{sides[0]} {word} {sides[1]}", tuple(outputs))

    def _ordered(
        self, written: Written, order: tuple[Order, ...], offset: int | None, limit: int | None = None
    ) -> Written:
        """A query around another one that sorts by its columns only."""
        alias = self._alias()
        fields = tuple(
            Field(o.name, o.delimited, f"{alias}.{identifier(f'c{number}')}", o.column, o.type)
            for number, o in enumerate(written.outputs, 1)
        )
        scope = self._scope(Visible((), fields), None)
        keys: list[str] = []
        for term in order:
            number = ordinal(term.value, len(fields))
            value = (
                Translated(fields[number - 1].sql, fields[number - 1].type, term.at)
                if number
                else self.value(term.value, scope)
            )
            keys.append(self._key(value, term))
        names = ", ".join(f.sql for f in fields)
        sql = f"SELECT {names} FROM ({written.sql}) AS {alias}" + tail(keys, offset, limit)
        return Written(sql, written.outputs, limit)

    def subquery(self, query: Query, scope: Scope) -> tuple[str, tuple[Column, ...], tuple[str, ...]]:
        written = self.query(query, scope)
        return written.sql, tuple(o.column for o in written.outputs), tuple(o.type for o in written.outputs)

    def scalar(self, query: Query, scope: Scope, at: int) -> Translated:
        written = self.query(query, scope)
        if len(written.outputs) != 1:
            raise Fault(f"the subquery has {len(written.outputs)} columns", at, "In place of a value it must have one.")
        return Translated(f"({written.sql})", written.outputs[0].type, at, written.outputs[0].column)

    # SELECT.

    def _select(self, node: Select, order: tuple[Order, ...], offset: int | None, parent: Scope | None) -> Written:
        sources, visible = self._from(node, parent)
        scope = self._scope(visible, parent)
        with self.shapes.spread.allowing(visible.inner):
            where = self.condition(node.where, scope).sql if node.where else None
        groups = [self._group_term(term, node, scope) for term in node.group]
        if groups or node.having or any(isinstance(i, Item) and aggregates(i.value) for i in node.items):
            scope.grouped = frozenset(g.sql for g in groups)
        values, outputs = self._items(node, scope)
        with self.shapes.spread.allowing(frozenset()):
            having = self.condition(node.having, scope) if node.having else None
        keys = [self._order_value(term, values, outputs, scope) for term in order]
        if scope.grouped is not None:
            for value in (*values, *((having,) if having else ()), *keys):
                must_be_grouped(value, scope)
        listed = ", ".join(f"{v.sql} AS {identifier(f'c{number}')}" for number, v in enumerate(values, 1))
        sql = f"SELECT {'DISTINCT ' if node.distinct else ''}{listed}"
        sql += f" FROM {', '.join(sources)}" if sources else ""
        sql += f" WHERE {where}" if where else ""
        sql += f" GROUP BY {', '.join(g.sql for g in groups)}" if groups else ""
        sql += f" HAVING {having.sql}" if having else ""
        if node.distinct and order:
            return self._distinct_ordered(Written(sql, outputs), node, order, offset, values, keys)
        ending = tail([self._key(k, t) for k, t in zip(keys, order, strict=True)], offset, node.top)
        return Written(sql + ending, outputs, node.top)

    def _distinct_ordered(
        self,
        written: Written,
        node: Select,
        order: tuple[Order, ...],
        offset: int | None,
        values: list[Translated],
        keys: list[Translated],
    ) -> Written:
        known = {v.sql: number for number, v in enumerate(values, 1)}
        terms: list[Order] = []
        for key, term in zip(keys, order, strict=True):
            if key.sql not in known:
                raise Fault("SELECT DISTINCT sorts by its own columns only", term.at)
            terms.append(replace(term, value=Number(str(known[key.sql]), term.at)))
        return self._ordered(written, tuple(terms), offset, node.top)

    def _group_term(self, term: Value, node: Select, scope: Scope) -> Translated:
        if isinstance(term, Number):
            raise Fault("GROUP BY takes columns and expressions, not numbers of columns", term.at)
        try:
            found = self.value(term, scope)
        except Fault:
            named = [i for i in node.items if isinstance(i, Item) and i.alias and is_alias(term, i.alias)]
            if not named:
                raise
            found = self.value(named[0].value, scope)
        if found.type in ("other",):
            raise Fault(f"GROUP BY can't take {in_words(found.type)}", found.at)
        return found

    def _items(self, node: Select, scope: Scope) -> tuple[list[Translated], tuple[Output, ...]]:
        values: list[Translated] = []
        named: list[tuple[str, bool]] = []
        for item in node.items:
            if isinstance(item, Star):
                for field in self._star(item, scope):
                    free = frozenset({(scope.number, field.sql, item.at)})
                    found = Translated(field.sql, field.type, item.at, field.column, free, origin=field.origin)
                    if scope.grouped is not None and field.sql in scope.grouped:
                        found = replace(found, free=frozenset())
                    values.append(found)
                    named.append((field.name, field.delimited))
                continue
            value = self.value(item.value, scope)
            values.append(value)
            if item.alias is not None:
                named.append((item.alias.text, item.alias.delimited))
            elif isinstance(item.value, ColumnName):
                named.append((value.name, needs_quotes(value.name)))
            else:
                named.append((value.name or f"column_{len(values)}", False))
        outputs: list[Output] = []
        taken: set[str] = set()
        for value, (name, delimited) in zip(values, named, strict=True):
            # Names of a result are unique (TAP 1.1 §2.7.3, T-023).
            unique, number = name, 1
            while unique.lower() in taken:
                number += 1
                unique = f"{name}_{number}"
            taken.add(unique.lower())
            outputs.append(Output(unique, delimited, result_column(value, unique), value.type))
        return values, tuple(outputs)

    def _star(self, item: Star, scope: Scope) -> Sequence[Field]:
        if item.parts:
            return scope.relation(item.parts, item.at).fields
        if not scope.visible.relations:
            raise Fault("'*' needs a FROM", item.at)
        return scope.visible.fields

    def _order_value(
        self, term: Order, values: list[Translated], outputs: tuple[Output, ...], scope: Scope
    ) -> Translated:
        """A number or a name of a result's column, or anything that the rows have."""
        if number := ordinal(term.value, len(values)):
            return values[number - 1]
        if isinstance(term.value, ColumnName) and len(term.value.parts) == 1:
            name = term.value.parts[0]
            for value, output in zip(values, outputs, strict=True):
                if same(name, output.name, output.delimited):
                    return value
        if scope.grouped is None and aggregates(term.value):
            raise Fault("ORDER BY has an aggregate, but the rows are not grouped", term.at)
        return self.value(term.value, scope)

    def _key(self, value: Translated, term: Order) -> str:
        if value.type in ("other", *types.GEOMETRIES):
            raise Fault(f"ORDER BY can't sort {in_words(value.type)}", term.at)
        # NULL is the greatest value, as in PostgreSQL's own indexes.
        direction = "DESC NULLS FIRST" if term.descending else "ASC NULLS LAST"
        text = self.sql.cast(value, "char") if value.type == "null" else value.sql
        if value.literal:
            text = (
                f"({text} || '')"
                if value.type in types.STRINGS
                else f"({text} + 0)"
                if value.number is not None
                else text
            )
        return f"{self.sql.ordered(text, value.type)} {direction}"

    # FROM.

    def _from(self, node: Select, parent: Scope | None) -> tuple[list[str], Visible]:
        sources: list[str] = []
        relations: list[Relation] = []
        fields: list[Field] = []
        inner: frozenset[str] = frozenset()
        for source in node.sources:
            sql, visible = self._source(source, parent)
            sources.append(sql)
            relations += visible.relations
            fields += visible.fields
            inner |= visible.inner
        if len(relations) > _MOST_SOURCES:
            raise Fault(f"FROM has {len(relations)} tables", node.at, f"At most {_MOST_SOURCES} are joined.")
        different(relations)
        return sources, Visible(tuple(relations), tuple(fields), inner)

    def _source(self, node: Source, parent: Scope | None) -> tuple[str, Visible]:
        match node:
            case TableName():
                return self._table(node)
            case Derived():
                written = self.query(node.query, None)
                alias = self._alias()
                return f"({written.sql}) AS {alias}", derived(node.alias, alias, written.outputs)
            case Join():
                return self._join(node, parent)

    def _table(self, node: TableName) -> tuple[str, Visible]:
        if len(node.parts) == 1:
            for name, sql, outputs in reversed(self._common):
                if same(node.parts[0], name.text, name.delimited):
                    alias = self._alias()
                    return f"{sql} AS {alias}", derived(node.alias or name, alias, outputs)
        table = find_table(node.parts, self.tables, node.at)
        self.read[table.full_name] = None
        alias = self._alias()
        fields = tuple(
            Field(
                bare(column.name),
                needs_quotes(column.name),
                f"{alias}.{identifier(name)}",
                column,
                type_of(column),
                Origin(alias, table, bare(column.name)),
            )
            for column, name in zip(table.columns, column_names(table, self.sql.dialect), strict=True)
        )
        self._tables[alias] = table_sql(table)
        visible = Visible((Relation(node.alias, table, fields, node.at),), fields, frozenset({alias}))
        return f"\0{alias}\0 AS {alias}", visible

    def _join(self, node: Join, parent: Scope | None) -> tuple[str, Visible]:
        left_sql, left = self._source(node.left, parent)
        right_sql, right = self._source(node.right, parent)
        relations = (*left.relations, *right.relations)
        different(relations)
        inner = {
            "LEFT": left.inner,
            "RIGHT": right.inner,
            "FULL": frozenset[str](),
        }.get(node.kind, left.inner | right.inner)
        if node.kind == "CROSS":
            return f"({left_sql} CROSS JOIN {right_sql})", Visible(relations, (*left.fields, *right.fields), inner)
        if node.on is None:
            on, fields = joined(node, left, right)
        else:
            fields = (*left.fields, *right.fields)
            # Of an outer join, rows of the other side are kept.
            spreadable = {"LEFT": right.inner, "RIGHT": left.inner}.get(node.kind, inner)
            with self.shapes.spread.allowing(spreadable):
                on = self._on(node.on, Visible(relations, fields), parent)
        return f"({left_sql} {node.kind} JOIN {right_sql} ON {on})", Visible(relations, fields, inner)

    def _on(self, node: Condition, visible: Visible, parent: Scope | None) -> str:
        return self.condition(node, self._scope(visible, parent)).sql

    def _alias(self) -> str:
        self._aliases += 1
        return identifier(f"t{self._aliases}")

    def _scope(self, visible: Visible, parent: Scope | None) -> Scope:
        self._scopes += 1
        return Scope(self._scopes, visible, parent)
