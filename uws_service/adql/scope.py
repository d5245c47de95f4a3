"""Names to tables and columns.

What a query can see at each place, and which name was probably meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from uws_service.adql.errors import Fault, nearest
from uws_service.adql.model import Column, Table
from uws_service.adql.names import needs_quotes
from uws_service.adql.physical import bare, identifier
from uws_service.adql.syntax import ColumnName, Name


@dataclass(frozen=True, slots=True)
class Origin:
    """The published column that a value comes from unchanged.

    ``alias`` is the table's in the SQL, ``name`` the column's.
    """

    alias: str
    table: Table
    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """A column that a query can name.

    ``delimited`` ones can only be named exactly.
    """

    name: str
    delimited: bool
    sql: str
    column: Column
    type: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or subquery in FROM, by its names.

    They are its alias, or its table with and without schema.
    """

    alias: Name | None
    table: Table | None
    fields: tuple[Field, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class Visible:
    """The relations of FROM, and the columns of ``*``.

    Common columns stand once; qualified names go by relation.
    ``inner`` are the SQL aliases of tables that no outer join keeps or fills.
    """

    relations: tuple[Relation, ...] = ()
    fields: tuple[Field, ...] = ()
    inner: frozenset[str] = frozenset()


@dataclass(slots=True)
class Scope:
    """The names that a place in the query can see.

    ``parent`` is the scope of the query around it.
    """

    number: int
    visible: Visible
    parent: Scope | None = None
    # Set where rows are grouped: the SQL of what is grouped by.
    grouped: frozenset[str] | None = None
    notes: list[str] = field(default_factory=list)

    def column(self, name: ColumnName) -> tuple[Field, Scope]:
        """Return a column of this or an outer scope."""
        scope: Scope | None = self
        while scope is not None:
            fields = _matching_fields(scope.visible, name)
            if len(fields) > 1:
                raise Fault(
                    f"'{qualified(name.parts)}' is ambiguous",
                    name.at,
                    "Put the name of its table before it, or write it in double quotes.",
                )
            if fields:
                return fields[0], scope
            scope = scope.parent
        raise self._unknown(name)

    def _unknown(self, name: ColumnName) -> Fault:
        scopes: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            scopes.append(scope)
            scope = scope.parent
        last = name.parts[-1]
        if len(name.parts) > 1:
            relations = [r for s in scopes for r in s.visible.relations]
            matching_relations = [r for r in relations if is_named(r, name.parts[:-1])]
            if not matching_relations:
                candidates = [relation_name(r) for r in relations]
                hint = nearest(qualified(name.parts[:-1]), candidates) or (
                    f"In FROM: {', '.join(candidates[:8])}." if candidates else ""
                )
                return Fault(f"there is no table '{qualified(name.parts[:-1])}' in FROM", name.at, hint)
            all_fields = list(matching_relations[0].fields)
            return Fault(
                f"table '{relation_name(matching_relations[0])}' has no column '{last.text}'",
                last.at,
                column_hint(last, all_fields),
            )
        all_fields = [f for s in scopes for f in s.visible.fields]
        if not all_fields:
            return Fault(f"there is no column '{last.text}'", name.at, "The query has no FROM.")
        return Fault(f"there is no column '{last.text}'", name.at, column_hint(last, all_fields))

    def relation(self, parts: tuple[Name, ...], at: int) -> Relation:
        """Return the relation of that name in FROM."""
        relations = [r for r in self.visible.relations if is_named(r, parts)]
        if len(relations) == 1:
            return relations[0]
        if relations:
            raise Fault(f"'{qualified(parts)}' is ambiguous", at, "Give the tables different names with AS.")
        candidates = [relation_name(r) for r in self.visible.relations]
        hint = nearest(qualified(parts), candidates) or (f"In FROM: {', '.join(candidates[:8])}." if candidates else "")
        raise Fault(f"there is no table '{qualified(parts)}' in FROM", at, hint)


def matches(name: Name, text: str, delimited: bool) -> bool:
    """Return whether a name means that text (ADQL 2.1 §2.1.3)."""
    if name.delimited:
        return name.text == text
    return not delimited and name.text.lower() == text.lower()


def column_hint(name: Name, fields: Sequence[Field]) -> str:
    """Return a hint which column was probably meant."""
    for candidate in fields:
        if candidate.name.lower() == name.text.lower():
            return (
                f"Did you mean {identifier(candidate.name)}, in double quotes?"
                if candidate.delimited
                else f"Did you mean {candidate.name}, without quotes?"
            )
    hint = nearest(name.text, [identifier(f.name) if f.delimited else f.name for f in fields])
    if hint or len(fields) > 30:
        return hint
    return f"Columns are {', '.join(dict.fromkeys(f.name for f in fields))}."


def qualified(parts: Sequence[Name]) -> str:
    """Return a name as the query has it."""
    return ".".join(identifier(p.text) if p.delimited else p.text for p in parts)


def relation_name(relation: Relation) -> str:
    """Return a relation's name for a person."""
    if relation.alias is not None:
        return relation.alias.text
    return relation.table.full_name if relation.table else "?"


def is_named(relation: Relation, parts: Sequence[Name]) -> bool:
    """Return whether a qualifier means this relation."""
    if relation.alias is not None:
        return len(parts) == 1 and matches(parts[0], relation.alias.text, relation.alias.delimited)
    return relation.table is not None and means_table(relation.table, parts)


def means_table(table: Table, parts: Sequence[Name]) -> bool:
    """Return whether a name means that published table."""
    if not matches(parts[-1], bare(table.name), needs_quotes(table.name)):
        return False
    return len(parts) == 1 or (len(parts) == 2 and matches(parts[0], bare(table.schema), needs_quotes(table.schema)))


def _matching_fields(visible: Visible, name: ColumnName) -> list[Field]:
    last = name.parts[-1]
    if len(name.parts) == 1:
        return [f for f in visible.fields if matches(last, f.name, f.delimited)]
    relations = [r for r in visible.relations if is_named(r, name.parts[:-1])]
    if len(relations) > 1:
        raise Fault(f"'{qualified(name.parts[:-1])}' is ambiguous", name.at, "Give the tables different names with AS.")
    return [f for r in relations for f in r.fields if matches(last, f.name, f.delimited)]


def find_table(parts: tuple[Name, ...], tables: Sequence[Table], at: int) -> Table:
    """Return the table of that name, or raise `Fault`."""
    if len(parts) == 3:
        raise Fault(f"'{qualified(parts)}' has three parts", at, "Tables are schema.table; there are no catalogues.")
    matching_tables = [t for t in tables if means_table(t, parts)]
    if len(matching_tables) == 1:
        return matching_tables[0]
    if matching_tables:
        names = ", ".join(t.full_name for t in matching_tables)
        raise Fault(f"the table '{qualified(parts)}' is ambiguous", at, f"Write the schema before it: {names}.")
    name = qualified(parts)
    hint = nearest(name, [t.full_name for t in tables])
    if not hint:
        last = nearest(parts[-1].text, [bare(t.name) for t in tables])
        full = [t.full_name for t in tables if last == f"Did you mean {bare(t.name)}?"]
        hint = f"Did you mean {full[0]}?" if full else "TAP_SCHEMA.tables lists what there is."
    if parts[0].text.upper() == "TAP_UPLOAD" and len(parts) == 2:
        uploads = [t.full_name for t in tables if bare(t.schema).upper() == "TAP_UPLOAD"]
        hint = hint if uploads else "The request uploads no table."
    raise Fault(f"there is no table '{name}'", at, hint)
