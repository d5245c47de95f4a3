"""The grammar of values and conditions.

ADQL 2.1 §2.2.3 to §4 and appendix A.
"""

from __future__ import annotations

from abc import abstractmethod

from uws_service.adql.cursor import Cursor
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


class ValueParser(Cursor):
    @abstractmethod
    def query(self) -> Query:
        """Read a query in brackets, without the brackets."""

    def condition(self) -> Condition:
        """Read ``a OR b OR …``."""
        at, terms = self.token.at, [self._conjunction()]
        while self.accept("OR"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else Logical("OR", tuple(terms), at)

    def _conjunction(self) -> Condition:
        at, terms = self.token.at, [self._negation()]
        while self.accept("AND"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else Logical("AND", tuple(terms), at)

    def _negation(self) -> Condition:
        at = self.token.at
        if self.accept("NOT"):
            self.enter()
            inner = self._negation()
            self.leave()
            return Not(inner, at)
        if self.token.upper == "EXISTS":
            self.take()
            self.expect("(", " after EXISTS")
            query = self.query()
            self.expect(")", " at the end of the subquery")
            return Exists(query, at)
        return self._bracketed() if self.token.upper == "(" else self._predicate()

    def _bracketed(self) -> Condition:
        """Read a bracket of a condition or value.

        What follows its end tells which.
        """
        if self._bracket_is_value():
            return self._predicate()
        self.take()
        self.enter()
        inner = self.condition()
        self.leave()
        self.expect(")", " at the end of the condition")
        return inner

    def _bracket_is_value(self) -> bool:
        steps, depth, has_comparison = 0, 0, False
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
                has_comparison |= token.upper in _COMPARISONS or token.upper in _PREDICATE_WORDS
            steps += 1
        after = self.ahead(steps + 1).upper
        return not has_comparison and (after in _COMPARISONS or after in _AFTER_VALUE)

    def _predicate(self) -> Condition:
        at = self.token.at
        value = self.value()
        operator = _COMPARISONS.get(self.token.upper)
        if operator:
            at = self.take().at
            return Comparison(operator, value, self.value(), at)
        if self.accept("IS"):
            negated = self.accept("NOT")
            self.expect("NULL", " after IS")
            return IsNull(value, negated, at)
        at = self.token.at
        negated = self.accept("NOT")
        if self.accept("BETWEEN"):
            low = self.value()
            self.expect("AND", " between the two bounds of BETWEEN")
            return Between(value, low, self.value(), negated, at)
        if self.accept("LIKE"):
            return self._no_escape(Like(value, self.value(), False, negated, at))
        if self.accept("ILIKE"):
            return self._no_escape(Like(value, self.value(), True, negated, at))
        if self.accept("IN"):
            return self._in(value, negated, at)
        if negated:
            raise self.unexpected("BETWEEN, IN, LIKE or ILIKE after NOT")
        raise self.unexpected("a comparison (=, <>, <, >, <=, >=, BETWEEN, IN, LIKE, ILIKE, IS NULL)")

    def _no_escape(self, condition: Like) -> Like:
        if self.token.upper == "ESCAPE":
            raise self.unexpected("the end of the condition")
        return condition

    def _in(self, value: Value, negated: bool, at: int) -> In:
        self.expect("(", " after IN")
        if self.token.upper in ("SELECT", "WITH"):
            query = self.query()
            self.expect(")", " at the end of the subquery")
            return In(value, query, negated, at)
        members = [self.value()]
        while self.accept(","):
            members.append(self.value())
        self.expect(")", " at the end of the list of IN")
        return In(value, tuple(members), negated, at)

    def value(self) -> Value:
        """Read a sum, or strings joined together."""
        lhs = self._term()
        chain = 0
        while self.token.upper in ("+", "-", "||"):
            token = self.take()
            lhs = Operation(token.upper, lhs, self._term(), token.at)
            chain += 1
            self.check_count(chain, 200, "operators in a row", token.at)
        return lhs

    def _term(self) -> Value:
        lhs = self._factor()
        chain = 0
        while self.token.upper in ("*", "/"):
            token = self.take()
            lhs = Operation(token.upper, lhs, self._factor(), token.at)
            chain += 1
            self.check_count(chain, 200, "operators in a row", token.at)
        return lhs

    def _factor(self) -> Value:
        token = self.token
        if token.upper == "+" or token.upper == "-":
            self.take()
            self.enter()
            inner = self._factor()
            self.leave()
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
        self.enter()
        inner = self.value()
        self.leave()
        self.expect(")")
        return inner

    def _call(self) -> Value:
        token = self.take()
        self.take()
        self.enter()
        result: Value
        if token.upper == "CAST":
            result = self._cast(token.at)
        elif token.upper in AGGREGATES:
            result = self._aggregate(token.upper, token.at)
        elif token.upper not in FUNCTIONS:
            raise Fault(
                f"there is no function '{token.text}'",
                token.at,
                nearest(token.upper, [*FUNCTIONS, *AGGREGATES, "CAST"]) or _instead(token.upper),
            )
        else:
            result = Call(token.upper, self._arguments(), token.at)
        self.leave()
        self.expect(")", f" after the arguments of {token.upper}")
        if self.token.upper == "OVER":
            raise self.unexpected("the end of the value")
        return result

    def _arguments(self) -> tuple[Value, ...]:
        if self.token.upper == ")":
            return ()
        arguments = [self.value()]
        while self.accept(","):
            arguments.append(self.value())
        return tuple(arguments)

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
    alternatives = {
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
    return f"Use {alternatives[name]}." if name in alternatives else ""
