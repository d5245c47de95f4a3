"""The grammar of queries: text to syntax tree.

Values and conditions are in `value_parser`.
Beyond the standard's grammar it takes a SELECT without FROM, CROSS JOIN, and subqueries in place of values.
"""

from __future__ import annotations

from typing import Literal

from uws_service.adql.errors import Fault, nearest
from uws_service.adql.syntax import (
    Body,
    Condition,
    Derived,
    Item,
    Join,
    Name,
    Order,
    Query,
    Select,
    SetOperation,
    Source,
    Star,
    TableName,
    Value,
)
from uws_service.adql.tokens import Kind
from uws_service.adql.value_parser import ValueParser

_MAX_ITEMS = 2000
_MAX_CHAIN = 64


def parse(text: str) -> Query:
    """Parse a text of exactly one query.

    Raises `Fault`.
    """
    parser = Parser(text)
    if parser.at_end():
        raise Fault("the query is empty", 0, "Write SELECT … FROM …")
    if parser.token.upper not in ("SELECT", "WITH", "("):
        hint = nearest(parser.token.upper, ["SELECT", "WITH"]) or "Only queries are answered, nothing is changed."
        raise Fault(f"a query begins with SELECT or WITH, not with {parser.token}", parser.token.at, hint)
    query = parser.query()
    if parser.token.upper == ";":
        parser.take()
        if not parser.at_end():
            raise Fault("a second statement follows", parser.token.at, "One query is answered at a time.")
    if not parser.at_end():
        raise parser.unexpected("the end of the query")
    return query


class Parser(ValueParser):
    def query(self) -> Query:
        """Read ``[WITH …] set expression [ORDER BY …] [OFFSET n]``."""
        at = self.token.at
        self.enter()
        common: list[tuple[Name, Query]] = []
        if self.accept("WITH"):
            while True:
                name = self.name("a name for the query")
                self.expect("AS", " after the name of the query")
                self.expect("(")
                common.append((name, self.query()))
                self.expect(")", " at the end of the query in WITH")
                if not self.accept(","):
                    break
        body = self._union()
        order = self._order() if self.accept_by("ORDER") else ()
        offset = self.whole_number("OFFSET") if self.accept("OFFSET") else None
        self.leave()
        return Query(body, order, offset, tuple(common), at)

    def _union(self) -> Body:
        lhs, chain = self._intersection(), 0
        while self.token.upper in ("UNION", "EXCEPT"):
            at, chain = self.token.at, chain + 1
            self.check_count(chain, _MAX_CHAIN, "set operations in a row", at)
            operator: Literal["UNION", "EXCEPT"] = "UNION" if self.take().upper == "UNION" else "EXCEPT"
            lhs = SetOperation(operator, self.accept("ALL"), lhs, self._intersection(), at)
        return lhs

    def _intersection(self) -> Body:
        lhs, chain = self._operand(), 0
        while self.token.upper == "INTERSECT":
            at, chain = self.take().at, chain + 1
            self.check_count(chain, _MAX_CHAIN, "set operations in a row", at)
            lhs = SetOperation("INTERSECT", self.accept("ALL"), lhs, self._operand(), at)
        return lhs

    def _operand(self) -> Body:
        if self.accept("("):
            inner = self.query()
            self.expect(")", " at the end of the query in brackets")
            return inner
        return self._select()

    def _select(self) -> Select:
        at = self.token.at
        self.expect("SELECT")
        distinct = self.accept("DISTINCT")
        if not distinct:
            self.accept("ALL")
        top = self.whole_number("TOP") if self.accept("TOP") else None
        if self.token.upper in ("DISTINCT", "ALL"):
            raise Fault(f"{self.token.upper} stands before TOP", self.token.at)
        items = [self._item()]
        while self.accept(","):
            items.append(self._item())
        if len(items) > _MAX_ITEMS:
            raise Fault(f"the query has {len(items)} columns", at, f"At most {_MAX_ITEMS} are returned.")
        sources: list[Source] = []
        if self.accept("FROM"):
            sources.append(self._source())
            while self.accept(","):
                sources.append(self._source())
        elif not self.at_end() and self.token.upper not in (
            *("WHERE", "GROUP", "HAVING", "ORDER", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ")", ";"),
        ):
            last = items[-1]
            if isinstance(last, Item) and last.alias and (hint := nearest(last.alias.text, ["FROM"])):
                raise Fault(f"expected ',' or 'FROM', found '{last.alias.text}'", last.alias.at, hint)
            raise self.unexpected("',' or 'FROM' after a column of the select list")
        condition = self.condition() if self.accept("WHERE") else None
        group: list[Value] = []
        if self.accept_by("GROUP"):
            group.append(self.value())
            while self.accept(","):
                group.append(self.value())
        having = self.condition() if self.accept("HAVING") else None
        return Select(tuple(items), distinct, top, tuple(sources), condition, tuple(group), having, at)

    def _item(self) -> Item | Star:
        at = self.token.at
        if self.accept("*"):
            return Star((), at)
        if self.token.kind in (Kind.WORD, Kind.DELIMITED):
            steps = 1
            while self.ahead(steps).upper == "." and self.ahead(steps + 1).kind in (Kind.WORD, Kind.DELIMITED):
                steps += 2
            if self.ahead(steps).upper == "." and self.ahead(steps + 1).upper == "*":
                parts = self.names("a table", 3)
                self.expect(".")
                self.expect("*")
                return Star(parts, at)
        value = self.value()
        if self.token.upper in ("=", "<", ">", "<>", "!=", "<=", ">=", "BETWEEN", "IN", "LIKE", "ILIKE", "IS"):
            raise Fault(
                "a condition can't be a column of the result",
                self.token.at,
                "Conditions stand after WHERE, ON, HAVING.",
            )
        return Item(value, self.alias("the column"), at)

    def _source(self) -> Source:
        left_side, chain = self._single_source(), 0
        while True:
            at, chain = self.token.at, chain + 1
            self.check_count(chain, _MAX_CHAIN, "joins in a row", at)
            natural = self.accept("NATURAL")
            kind = self._join_kind()
            if kind is None:
                if natural:
                    raise self.unexpected("'JOIN' after NATURAL")
                return left_side
            right_side = self._single_source()
            on: Condition | None = None
            using: tuple[Name, ...] = ()
            if not natural and kind != "CROSS":
                if self.accept("ON"):
                    on = self.condition()
                elif self.accept("USING"):
                    using = self._using()
                else:
                    raise Fault("the JOIN has no condition", at, "Write ON …, USING (…) or NATURAL JOIN.")
            left_side = Join(left_side, right_side, kind, natural, on, using, at)

    def _join_kind(self) -> Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"] | None:
        if self.accept("JOIN") or self.accept("INNER", "JOIN"):
            return "INNER"
        if self.accept("CROSS", "JOIN"):
            return "CROSS"
        if self.accept("LEFT", "OUTER", "JOIN") or self.accept("LEFT", "JOIN"):
            return "LEFT"
        if self.accept("RIGHT", "OUTER", "JOIN") or self.accept("RIGHT", "JOIN"):
            return "RIGHT"
        if self.accept("FULL", "OUTER", "JOIN") or self.accept("FULL", "JOIN"):
            return "FULL"
        if self.token.upper in ("INNER", "LEFT", "RIGHT", "FULL", "CROSS"):
            self.take()
            raise self.unexpected("'JOIN'")
        return None

    def _using(self) -> tuple[Name, ...]:
        self.expect("(", " after USING")
        names = [self.name("a column")]
        while self.accept(","):
            names.append(self.name("a column"))
        self.expect(")", " after the columns of USING")
        return tuple(names)

    def _single_source(self) -> Source:
        at = self.token.at
        if self.token.upper == "(":
            if self.ahead(1).upper in ("SELECT", "WITH") or self._is_query():
                self.take()
                query = self.query()
                self.expect(")", " at the end of the subquery")
                alias = self.alias("the subquery")
                if alias is None:
                    raise Fault("the subquery has no name", self.token.at, "Write (SELECT …) AS name.")
                return Derived(query, alias, at)
            self.take()
            self.enter()
            inner = self._source()
            self.leave()
            self.expect(")", " at the end of the joined tables")
            return inner
        parts = self.names("a table", 3)
        if self.token.upper == "(":
            raise Fault("functions can't stand in FROM", at, "Only published tables, uploads and subqueries can.")
        return TableName(parts, self.alias("the table"), at)

    def _is_query(self) -> bool:
        """Return whether nested brackets begin with SELECT."""
        steps = 0
        while self.ahead(steps).upper == "(":
            steps += 1
        return self.ahead(steps).upper in ("SELECT", "WITH")

    def _order(self) -> tuple[Order, ...]:
        terms: list[Order] = []
        while True:
            at = self.token.at
            value = self.value()
            descending = self.accept("DESC")
            if not descending:
                self.accept("ASC")
            terms.append(Order(value, descending, at))
            if not self.accept(","):
                return tuple(terms)
