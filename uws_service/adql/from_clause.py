"""FROM to SQL (ADQL 2.1 §2.2.2).

Tables, subqueries and joins become SQL and the columns that they make visible.

Tables get aliases of ours (t1, t2 …): no name of a user or of a table's owner decides what the SQL means.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from uws_service.adql.conditions import Conditions
from uws_service.adql.errors import Fault
from uws_service.adql.joins import join_columns
from uws_service.adql.model import Table
from uws_service.adql.names import needs_quotes
from uws_service.adql.outputs import Output, TranslatedQuery, named_subquery, refuse_duplicates
from uws_service.adql.physical import bare, column_names, identifier, table_sql
from uws_service.adql.scope import Field, Origin, Relation, Scope, Visible, find_table, matches
from uws_service.adql.syntax import Condition, Derived, Join, Name, Query, Select, Source, TableName
from uws_service.adql.translated import Sql
from uws_service.adql.types import type_of

_MAX_SOURCES = 64


class FromClause(Conditions):
    """Translates what a query reads from.

    What a subquery is, `queries` knows.
    """

    def __init__(self, sql: Sql, tables: Sequence[Table]) -> None:
        super().__init__(sql)
        self.tables = tables
        self.tables_read: dict[str, None] = {}
        # Queries of WITH at this place: name, alias in the SQL, columns.
        self._common: list[tuple[Name, str, tuple[Output, ...]]] = []
        self._table_sql: dict[str, str] = {}
        self._alias_count = 0
        self._scope_count = 0

    @abstractmethod
    def query(self, node: Query, parent: Scope | None) -> TranslatedQuery:
        """Translate a whole query; raises `Fault`."""

    def complete(self, sql: str) -> str:
        """Return the SQL with its tables written in.

        That is possible only when all its conditions are translated.
        """
        for alias, table in self._table_sql.items():
            sql = sql.replace(f"\0{alias}\0", self.geometry.spread.tables.get(alias, table))
        return sql

    def sources(self, node: Select, parent: Scope | None) -> tuple[list[str], Visible]:
        """Return the sources' SQL, and what they make visible."""
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
        if len(relations) > _MAX_SOURCES:
            raise Fault(f"FROM has {len(relations)} tables", node.at, f"At most {_MAX_SOURCES} are joined.")
        refuse_duplicates(relations)
        return sources, Visible(tuple(relations), tuple(fields), inner)

    def _source(self, node: Source, parent: Scope | None) -> tuple[str, Visible]:
        match node:
            case TableName():
                return self._table(node)
            case Derived():
                subquery = self.query(node.query, None)
                alias = self.new_alias()
                return f"({subquery.sql}) AS {alias}", named_subquery(node.alias, alias, subquery.outputs)
            case Join():
                return self._join(node, parent)

    def _table(self, node: TableName) -> tuple[str, Visible]:
        if len(node.parts) == 1:
            for name, sql, outputs in reversed(self._common):
                if matches(node.parts[0], name.text, name.delimited):
                    alias = self.new_alias()
                    return f"{sql} AS {alias}", named_subquery(node.alias or name, alias, outputs)
        table = find_table(node.parts, self.tables, node.at)
        self.tables_read[table.full_name] = None
        alias = self.new_alias()
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
        self._table_sql[alias] = table_sql(table)
        visible = Visible((Relation(node.alias, table, fields, node.at),), fields, frozenset({alias}))
        return f"\0{alias}\0 AS {alias}", visible

    def _join(self, node: Join, parent: Scope | None) -> tuple[str, Visible]:
        left_sql, left_side = self._source(node.left_side, parent)
        right_sql, right_side = self._source(node.right_side, parent)
        relations = (*left_side.relations, *right_side.relations)
        refuse_duplicates(relations)
        inner = {
            "LEFT": left_side.inner,
            "RIGHT": right_side.inner,
            "FULL": frozenset[str](),
        }.get(node.kind, left_side.inner | right_side.inner)
        fields = (*left_side.fields, *right_side.fields)
        if node.kind == "CROSS":
            return f"({left_sql} CROSS JOIN {right_sql})", Visible(relations, fields, inner)
        if node.on is None:
            on, fields = join_columns(node, left_side, right_side)
        else:
            # An outer join keeps rows of the opposite side.
            spreadable = {"LEFT": right_side.inner, "RIGHT": left_side.inner}.get(node.kind, inner)
            with self.geometry.spread.allowing(spreadable):
                on = self._on(node.on, Visible(relations, fields), parent)
        return f"({left_sql} {node.kind} JOIN {right_sql} ON {on})", Visible(relations, fields, inner)

    def _on(self, node: Condition, visible: Visible, parent: Scope | None) -> str:
        return self.condition(node, self.new_scope(visible, parent)).sql

    def new_alias(self) -> str:
        """Return an alias that is not used yet."""
        self._alias_count += 1
        return identifier(f"t{self._alias_count}")

    def new_scope(self, visible: Visible, parent: Scope | None) -> Scope:
        """Return a scope with a new number."""
        self._scope_count += 1
        return Scope(self._scope_count, visible, parent)
