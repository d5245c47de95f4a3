"""The grammar of values and conditions (ADQL 2.1 §2.2.3 to §4, appendix A)."""

from __future__ import annotations

from abc import abstractmethod

from uws_service.adql.cursor import Reader
from uws_service.adql.errors import Fault, nearest
from uws_service.adql.functions import AGGREGATES, FUNCTIONS
from uws_service.adql.syntax import (
    Aggregate,
    Between,
    Call,
    Cast,
    ColumnName,
    Comparison,
    Condition,
    Constant,
    Exists,
    In,
    IsNull,
    Like,
    Logical,
    Not,
    Number,
    Operation,
    Query,
    Scalar,
    Sign,
    String,
    Value,
)
from uws_service.adql.tokens import Kind

_COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", ">": ">", "<=": "<=", ">=": ">="}
_TYPES = (
    "CHAR",
    "VARCHAR",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "DOUBLE",
    "TIMESTAMP",
    "POINT",
    "CIRCLE",
    "POLYGON",
)


class ValueParser(Reader):
    @abstractmethod
    def query(self) -> Query:
        """A query in brackets, without the brackets."""

    def condition(self) -> Condition:
        """``a OR b OR …``."""
        at, found = self.token.at, [self._conjunction()]
        while self.accept("OR"):
            found.append(self._conjunction())
        return found[0] if len(found) == 1 else Logical("OR", tuple(found), at)

    def _conjunction(self) -> Condition:
        at, found = self.token.at, [self._negation()]
        while self.accept("AND"):
            found.append(self._negation())
        return found[0] if len(found) == 1 else Logical("AND", tuple(found), at)

    def _negation(self) -> Condition:
        at = self.token.at
        if self.accept("NOT"):
            self.deeper()
            inner = self._negation()
            self.back()
            return Not(inner, at)
        if self.token.upper == "EXISTS":
            self.take()
            self.expect("(", " after EXISTS")
            query = self.query()
            self.expect(")", " at the end of the subquery")
            return Exists(query, at)
        return self._bracketed() if self.token.upper == "(" else self._predicate()

    def _bracketed(self) -> Condition:
        """A bracket holds a condition or the beginning of a value: what follows its end tells which."""
        if self._bracket_is_value():
            return self._predicate()
        self.take()
        self.deeper()
        inner = self.condition()
        self.back()
        self.expect(")", " at the end of the condition")
        return inner

    def _bracket_is_value(self) -> bool:
        steps, depth, compared = 0, 0, False
        while True:
            token = self.ahead(steps)
            if token.kind is Kind.END:
                return False
            if token.upper == "(":
                depth += 1
            elif token.upper == ")":
                depth -= 1
                if depth == 0:
                    break
            elif depth == 1:
                if token.upper == "SELECT" or token.upper == "WITH":
                    return True
                compared |= token.upper in _COMPARISONS or token.upper in _PREDICATE_WORDS
            steps += 1
        after = self.ahead(steps + 1).upper
        return not compared and (after in _COMPARISONS or after in _AFTER_VALUE)

    def _predicate(self) -> Condition:
        at = self.token.at
        left = self.value()
        operator = _COMPARISONS.get(self.token.upper)
        if operator:
            at = self.take().at
            return Comparison(operator, left, self.value(), at)
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.expect("NULL", " after IS")
            return IsNull(left, negated, at)
        at = self.token.at
        negated = self.accept("NOT")
        if self.accept("BETWEEN"):
            low = self.value()
            self.expect("AND", " between the two bounds of BETWEEN")
            return Between(left, low, self.value(), negated, at)
        if self.accept("LIKE"):
            return self._no_escape(Like(left, self.value(), False, negated, at))
        if self.accept("ILIKE"):
            return self._no_escape(Like(left, self.value(), True, negated, at))
        if self.accept("IN"):
            return self._in(left, negated, at)
        if negated:
            raise self.unexpected("BETWEEN, IN, LIKE or ILIKE after NOT")
        raise self.unexpected("a comparison (=, <>, <, >, <=, >=, BETWEEN, IN, LIKE, ILIKE, IS NULL)")

    def _no_escape(self, condition: Like) -> Like:
        if self.token.upper == "ESCAPE":
            raise self.unexpected("the end of the condition")
        return condition

    def _in(self, left: Value, negated: bool, at: int) -> In:
        self.expect("(", " after IN")
        if self.token.upper in ("SELECT", "WITH"):
            query = self.query()
            self.expect(")", " at the end of the subquery")
            return In(left, query, negated, at)
        among = [self.value()]
        while self.accept(","):
            among.append(self.value())
        self.expect(")", " at the end of the list of IN")
        return In(left, tuple(among), negated, at)

    def value(self) -> Value:
        """A sum, or strings put together."""
        left = self._term()
        chain = 0
        while self.token.upper in ("+", "-", "||"):
            token = self.take()
            left = Operation(token.upper, left, self._term(), token.at)
            chain += 1
            self.not_too_many(chain, 200, "operators in a row", token.at)
        return left

    def _term(self) -> Value:
        left = self._factor()
        chain = 0
        while self.token.upper in ("*", "/"):
            token = self.take()
            left = Operation(token.upper, left, self._factor(), token.at)
            chain += 1
            self.not_too_many(chain, 200, "operators in a row", token.at)
        return left

    def _factor(self) -> Value:
        token = self.token
        if token.upper == "+" or token.upper == "-":
            self.take()
            self.deeper()
            inner = self._factor()
            self.back()
            return Sign("-" if token.upper == "-" else "+", inner, token.at)
        return self._primary()

    def _primary(self) -> Value:
        token = self.token
        if token.kind is Kind.NUMBER:
            self.take()
            return Number(token.text, token.at)
        if token.kind is Kind.STRING:
            self.take()
            return String(token.text, token.at)
        if token.upper in ("NULL", "TRUE", "FALSE"):
            self.take()
            return Constant({"NULL": None, "TRUE": True, "FALSE": False}[token.upper], token.at)
        if token.upper == "(":
            return self._in_brackets()
        if token.kind is Kind.WORD and self.ahead(1).upper == "(":
            return self._call()
        return ColumnName(self.names("a value", 3), token.at)

    def _in_brackets(self) -> Value:
        at = self.take().at
        if self.token.upper in ("SELECT", "WITH"):
            query = self.query()
            self.expect(")", " at the end of the subquery")
            return Scalar(query, at)
        self.deeper()
        inner = self.value()
        self.back()
        self.expect(")")
        return inner

    def _call(self) -> Value:
        token = self.take()
        self.take()
        self.deeper()
        found: Value
        if token.upper == "CAST":
            found = self._cast(token.at)
        elif token.upper in AGGREGATES:
            found = self._aggregate(token.upper, token.at)
        elif token.upper not in FUNCTIONS:
            raise Fault(
                f"there is no function '{token.text}'",
                token.at,
                nearest(token.upper, [*FUNCTIONS, *AGGREGATES, "CAST"]) or _instead(token.upper),
            )
        else:
            found = Call(token.upper, self._arguments(), token.at)
        self.back()
        self.expect(")", f" after the arguments of {token.upper}")
        if self.token.upper == "OVER":
            raise self.unexpected("the end of the value")
        return found

    def _arguments(self) -> tuple[Value, ...]:
        if self.token.upper == ")":
            return ()
        found = [self.value()]
        while self.accept(","):
            found.append(self.value())
        return tuple(found)

    def _aggregate(self, name: str, at: int) -> Aggregate:
        if name == "COUNT" and self.accept("*"):
            return Aggregate(name, None, False, at)
        distinct = self.accept("DISTINCT")
        if not distinct:
            self.accept("ALL")
        return Aggregate(name, self.value(), distinct, at)

    def _cast(self, at: int) -> Cast:
        value = self.value()
        self.expect("AS", " in CAST(value AS type)")
        token = self.token
        if token.upper not in _TYPES:
            hint = nearest(token.upper, _TYPES) if token.kind is Kind.WORD else ""
            raise Fault(f"expected a type, found {token}", token.at, hint or f"Types are {', '.join(_TYPES)}.")
        target = self.take().upper
        if target == "DOUBLE":
            self.accept("PRECISION")
        length = None
        if target in ("CHAR", "VARCHAR") and self.accept("("):
            length = self.whole_number(target)
            self.expect(")", " after the length")
        return Cast(value, target, length, at)


_PREDICATE_WORDS = {"AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ILIKE", "IS", "EXISTS"}
_AFTER_VALUE = {"BETWEEN", "IN", "LIKE", "ILIKE", "IS", "NOT", "+", "-", "*", "/", "||"}


def _instead(name: str) -> str:
    known = {
        "LN": "LOG",
        "CEIL": "CEILING",
        "TRUNC": "TRUNCATE",
        "POW": "POWER",
        "RANDOM": "RAND",
        "IFNULL": "COALESCE",
        "NVL": "COALESCE",
        "STDDEV": "SQRT(AVG(x * x) - AVG(x) * AVG(x))",
        "CONCAT": "||",
    }
    return f"Use {known[name]}." if name in known else ""
