"""Values of the syntax tree to SQL, with their types (ADQL 2.1 §2.2.3, §2.3, §3, §4)."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace

from uws_service.adql import rounding, types, units
from uws_service.adql.errors import Fault
from uws_service.adql.functions import FUNCTIONS, MATHS
from uws_service.adql.geometry import Shapes
from uws_service.adql.model import Column
from uws_service.adql.scope import Scope
from uws_service.adql.syntax import (
    Aggregate,
    Call,
    Cast,
    ColumnName,
    Constant,
    Number,
    Operation,
    Query,
    Scalar,
    Sign,
    String,
    Value,
)
from uws_service.adql.translated import (
    Sql,
    Translated,
    made,
    must_be_number,
    must_be_string,
    must_be_time,
    wide,
    with_words,
)
from uws_service.adql.types import GEOMETRIES, INTEGERS, NUMBERS, STRINGS, in_words

_CAST_TYPES = {
    "CHAR": "char",
    "VARCHAR": "char",
    "SMALLINT": "short",
    "INTEGER": "int",
    "BIGINT": "long",
    "REAL": "float",
    "DOUBLE": "double",
    "TIMESTAMP": "timestamp",
    "POINT": "point",
    "CIRCLE": "circle",
    "POLYGON": "polygon",
}


class Expressions:
    """Translates values; what a query is, `queries` knows."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.shapes = Shapes(sql)

    @abstractmethod
    def scalar(self, query: Query, scope: Scope, at: int) -> Translated:
        """A subquery of one column in place of a value."""

    def value(self, node: Value, scope: Scope) -> Translated:
        """A value with its type; raises `Fault`."""
        found = self._value(node, scope)
        if scope.grouped is not None and found.sql in scope.grouped:
            found = replace(found, free=frozenset(f for f in found.free if f[0] != scope.number))
        return found

    def _value(self, node: Value, scope: Scope) -> Translated:
        match node:
            case Number():
                return self._number(node)
            case String():
                kind = "char" if node.text.isascii() else "unicodeChar"
                return Translated(self.sql.string(node.text), kind, node.at, literal=True)
            case Constant():
                if node.value is None:
                    return Translated("NULL", "null", node.at, literal=True)
                return Translated("TRUE" if node.value else "FALSE", "boolean", node.at, literal=True)
            case ColumnName():
                return self._column(node, scope)
            case Sign():
                return self._sign(node, scope)
            case Operation():
                return self._operation(node, scope)
            case Cast():
                return self._cast(node, scope)
            case Aggregate():
                return self._aggregate(node, scope)
            case Call():
                return self._call(node, scope)
            case Scalar():
                return self.scalar(node.query, scope, node.at)

    def _number(self, node: Number) -> Translated:
        number = float(node.text)
        if not math.isfinite(number):
            raise Fault(f"the number {node.text} is too large", node.at, "Numbers go up to 1.8e308.")
        if node.text.isdigit() and int(node.text) < 2**63:
            kind = "int" if int(node.text) < 2**31 else "long"
            return Translated(str(int(node.text)), kind, node.at, number=number, literal=True)
        return Translated(self.sql.constant(number), "double", node.at, number=number, literal=True)

    def _column(self, node: ColumnName, scope: Scope) -> Translated:
        found, owner = scope.column(node)
        free = frozenset({(owner.number, found.sql, node.at)})
        return Translated(found.sql, found.type, node.at, found.column, free, origin=found.origin, name=found.name)

    def _sign(self, node: Sign, scope: Scope) -> Translated:
        value = self.value(node.value, scope)
        must_be_number(value, f"The sign {node.sign}")
        kind = wide(value.type)
        sql = self.sql.cast(value, kind)
        if node.sign == "+":
            return replace(made(f"(+{sql})", kind, node.at, value, unit=value.unit), number=value.number)
        negative = None if value.number is None else -value.number
        sql = self.sql.constant(negative) if negative is not None and kind == "double" else f"(-{sql})"
        return replace(made(sql, kind, node.at, value, unit=value.unit), number=negative, literal=value.literal)

    def _operation(self, node: Operation, scope: Scope) -> Translated:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if node.operator == "||":
            for side in (left, right):
                must_be_string(side, "||")
            kind = types.common(left.type, right.type) or "char"
            sides = (self.sql.cast(s, "char") if s.type == "null" else s.sql for s in (left, right))
            return made(f"({' || '.join(sides)})", "char" if kind == "null" else kind, node.at, left, right)
        for side in (left, right):
            must_be_number(side, f"The operator {node.operator}")
        kind = wide(types.common(left.type, right.type) or "double")
        kind = "double" if kind == "null" else kind
        operator = "//" if node.operator == "/" and kind in INTEGERS and self.sql.duckdb else node.operator
        unit = left.unit if node.operator in "+-" and left.unit == right.unit else None
        sql = f"({self.sql.cast(left, kind)} {operator} {self.sql.cast(right, kind)})"
        return replace(
            made(sql, kind, node.at, left, right, unit=unit), number=_folded(node.operator, kind, left, right)
        )

    def _cast(self, node: Cast, scope: Scope) -> Translated:
        value = self.value(node.value, scope)
        target = _CAST_TYPES[node.target]
        source = value.type
        simple = (*NUMBERS, *STRINGS, "null")
        allowed = {
            **dict.fromkeys(NUMBERS, (*simple, "boolean")),
            "char": (*simple, "timestamp", "boolean"),
            "timestamp": (*STRINGS, "timestamp", "null"),
        }.get(target, (target, "null"))
        if source not in allowed:
            raise Fault(f"CAST can't make {in_words(source)} into {node.target}", value.at)
        if target == "timestamp":
            must_be_time(value)
        if target in INTEGERS and source in ("float", "double"):
            # To the nearest, halves away from zero, as in neither engine by default.
            whole = rounding.nearest_whole(self.sql, self.sql.double(value))
            sql = f"CAST({whole} AS {self.sql.type(target)})"
        elif target in (*INTEGERS, "float", "double") and source == "boolean":
            sql = f"CAST(CAST({value.sql} AS INTEGER) AS {self.sql.type(target)})"
        else:
            sql = f"CAST({value.sql} AS {self.sql.type(target)})"
        if node.length is not None:
            if not 1 <= node.length <= 100_000:
                raise Fault(f"the length of {node.target} is {node.length}", node.at, "It is from 1 to 100000.")
            sql = f"left({sql}, {node.length})"
        kind = source if target == "char" and source in STRINGS else target
        found = made(sql, kind, node.at, value, unit=value.unit if kind in NUMBERS else None)
        return replace(found, number=value.number if kind in ("float", "double") else None, name=value.name)

    def _aggregate(self, node: Aggregate, scope: Scope) -> Translated:
        if scope.grouped is None:
            hint = "Conditions on groups stand after HAVING."
            raise Fault(f"{node.name} can't stand here, where there are rows and no groups", node.at, hint)
        if node.argument is None:
            return replace(made("COUNT(*)", "long", node.at, name="count"), aggregated=True)
        value = self.value(node.argument, replace(scope, grouped=frozenset()))
        if value.aggregated:
            raise Fault(f"{node.name} can't be within another aggregate", node.at)
        sql, kind, unit = value.sql, value.type, value.unit
        if node.name == "COUNT":
            kind, unit = "long", None
        elif node.name in ("SUM", "AVG"):
            must_be_number(value, node.name)
            kind = "long" if node.name == "SUM" and kind in INTEGERS else "double"
            sql = self.sql.cast(value, kind)
        elif kind in (*GEOMETRIES, "other", "boolean"):
            raise Fault(f"{node.name} takes numbers, strings and times, not {in_words(kind)}", value.at)
        else:
            sql = self.sql.ordered(sql, kind)
        sql = f"{node.name}({'DISTINCT ' if node.distinct else ''}{sql})"
        if node.name == "SUM" and kind == "long":
            sql = f"CAST({sql} AS BIGINT)"
        free = frozenset(f for f in value.free if f[0] != scope.number)
        words = value.words if node.name in ("MIN", "MAX") else Column("", unit=unit) if unit else None
        return Translated(sql, kind, node.at, words, free, aggregated=True, name=node.name.lower())

    def _call(self, node: Call, scope: Scope) -> Translated:
        signature = FUNCTIONS[node.name]
        count = len(node.arguments)
        if not signature.least <= count <= signature.most:
            raise Fault(f"{node.name} has {count} argument{'s' * (count != 1)}", node.at, f"Write {signature.form}.")
        arguments = [self.value(a, scope) for a in node.arguments]
        found = self.shapes.call(node.name, node.at, arguments) or self._simple_call(node, arguments)
        return replace(found, name=node.name.lower())

    def _simple_call(self, node: Call, arguments: list[Translated]) -> Translated:
        match node.name:
            case "COALESCE":
                return self._coalesce(node, arguments)
            case "IN_UNIT":
                return self._in_unit(node, arguments)
            case "LOWER" | "UPPER":
                must_be_string(arguments[0], node.name)
                kind = "char" if arguments[0].type == "null" else arguments[0].type
                sql = f"{node.name.lower()}({self.sql.cast(arguments[0], kind)})"
                return with_words(made(sql, kind, node.at, arguments[0]), None)
        for argument in arguments:
            must_be_number(argument, node.name)
        if node.name in ("ROUND", "TRUNCATE"):
            return self._round(node, arguments)
        if node.name == "RAND":
            return made("random()", "double", node.at)
        if node.name == "MOD":
            return self._mod(node, arguments)
        first = arguments[0] if arguments else None
        if node.name == "ABS" and first is not None:
            kind = "double" if first.type == "null" else wide(first.type)
            return made(f"abs({self.sql.cast(first, kind)})", kind, node.at, first, unit=first.unit)
        if node.name in ("CEILING", "FLOOR") and first is not None and first.type in INTEGERS:
            sql, kind = rounding.rounded_integer(self.sql, node.name, first, 0)
            return made(sql, kind, node.at, first, unit=first.unit)
        maths = MATHS[node.name]
        template = maths.duckdb if self.sql.duckdb else maths.postgresql
        unit = first.unit if maths.unit == "=" and first is not None else maths.unit
        return made(template.format(*(self.sql.double(a) for a in arguments)), "double", node.at, *arguments, unit=unit)

    def _round(self, node: Call, arguments: list[Translated]) -> Translated:
        value, digits = arguments[0], 0
        if len(arguments) == 2:
            places = arguments[1]
            if places.number is None or not places.literal or places.type not in INTEGERS or abs(places.number) > 30:
                raise Fault(f"the digits of {node.name} are no whole number from -30 to 30", places.at)
            digits = int(places.number)
        if rounding.is_exact(value, digits):
            sql, kind = rounding.rounded_integer(self.sql, node.name, value, digits)
        else:
            sql, kind = rounding.rounded_double(self.sql, node.name, value, digits), "double"
        return made(sql, kind, node.at, value, unit=value.unit)

    def _mod(self, node: Call, arguments: list[Translated]) -> Translated:
        left, right = arguments
        kind = wide(types.common(left.type, right.type) or "double")
        kind = "double" if kind == "null" else kind
        x, y = self.sql.cast(left, kind), self.sql.cast(right, kind)
        sql = f"({x} % {y})" if kind in INTEGERS or self.sql.duckdb else f"({x} - {y} * trunc({x} / {y}))"
        return made(sql, kind, node.at, left, right, unit=left.unit)

    def _coalesce(self, node: Call, arguments: list[Translated]) -> Translated:
        kind = "null"
        for argument in arguments:
            both = types.common(kind, argument.type)
            if both is None:
                raise Fault(
                    f"COALESCE has {in_words(kind)} and {in_words(argument.type)}",
                    argument.at,
                    "All must be of one type.",
                )
            kind = both
        if all(a.type == "null" for a in arguments):
            return replace(made("NULL", "null", node.at), literal=True)
        sql = f"COALESCE({', '.join(self.sql.cast(a, kind) for a in arguments)})"
        found = made(sql, kind, node.at, *arguments)
        same = {a.unit for a in arguments if not a.literal}
        return with_words(found, arguments[0].words) if len(same) == 1 else found

    def _in_unit(self, node: Call, arguments: list[Translated]) -> Translated:
        value, target = arguments
        must_be_number(value, "IN_UNIT")
        if target.type not in STRINGS or not target.literal:
            raise Fault("the unit of IN_UNIT is not a string constant", target.at, "Write IN_UNIT(value, 'unit').")
        name = target.sql[1:-1].replace("''", "'")
        if value.unit is None:
            what = f"the column '{value.name}' has" if value.origin else "the value has"
            raise Fault(f"{what} no unit to be converted from", value.at, "TAP_SCHEMA.columns lists the units.")
        try:
            factor = units.factor(value.unit, name)
        except units.UnitFault as error:
            raise Fault(str(error), target.at if error.is_target else value.at, error.hint) from None
        sql = f"({self.sql.double(value)} * {self.sql.constant(factor)})"
        found = made(sql, "double", node.at, value)
        words = replace(value.words, unit=name) if value.words else Column("", unit=name)
        return with_words(found, words)


def _folded(operator: str, kind: str, left: Translated, right: Translated) -> float | None:
    """The constant that an operation on constants gives, so that radii like 1/60.0 can use an index."""
    if left.number is None or right.number is None or kind != "double":
        return None
    if operator == "/" and right.number == 0:
        return None
    x, y = left.number, right.number
    found = {"+": x + y, "-": x - y, "*": x * y}.get(operator)
    found = x / y if found is None else found
    return found if math.isfinite(found) else None
