"""Values of the syntax tree to SQL.

Each has its type (ADQL 2.1 §2.2.3, §2.3, §3, §4).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace

from uws_service.adql import rounding, types, units
from uws_service.adql.errors import Fault
from uws_service.adql.functions import FUNCTIONS, MATHS
from uws_service.adql.geometry import Geometry
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
    arithmetic_type,
    compose,
    must_be_number,
    must_be_string,
    must_be_time,
    with_metadata,
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
    """Translates values; what a subquery is, `queries` knows."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.geometry = Geometry(sql)

    @abstractmethod
    def scalar(self, query: Query, scope: Scope, at: int) -> Translated:
        """Translate a subquery in place of a value."""

    def value(self, node: Value, scope: Scope) -> Translated:
        """Translate a value with its type; raises `Fault`."""
        value = self._value(node, scope)
        if scope.grouped is not None and value.sql in scope.grouped:
            value = replace(value, free=frozenset(f for f in value.free if f[0] != scope.number))
        return value

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
        field, scope_of_field = scope.column(node)
        free = frozenset({(scope_of_field.number, field.sql, node.at)})
        return Translated(field.sql, field.type, node.at, field.column, free, origin=field.origin, name=field.name)

    def _sign(self, node: Sign, scope: Scope) -> Translated:
        value = self.value(node.value, scope)
        must_be_number(value, f"The sign {node.sign}")
        kind = arithmetic_type(value.type)
        sql = self.sql.cast(value, kind)
        if node.sign == "+":
            return replace(compose(f"(+{sql})", kind, node.at, value, unit=value.unit), number=value.number)
        negative = None if value.number is None else -value.number
        sql = self.sql.constant(negative) if negative is not None and kind == "double" else f"(-{sql})"
        return replace(compose(sql, kind, node.at, value, unit=value.unit), number=negative, literal=value.literal)

    def _operation(self, node: Operation, scope: Scope) -> Translated:
        lhs, rhs = self.value(node.lhs, scope), self.value(node.rhs, scope)
        if node.operator == "||":
            for side in (lhs, rhs):
                must_be_string(side, "||")
            kind = types.common(lhs.type, rhs.type) or "char"
            sides = (self.sql.cast(s, "char") if s.type == "null" else s.sql for s in (lhs, rhs))
            return compose(f"({' || '.join(sides)})", "char" if kind == "null" else kind, node.at, lhs, rhs)
        for side in (lhs, rhs):
            must_be_number(side, f"The operator {node.operator}")
        kind = arithmetic_type(types.common(lhs.type, rhs.type) or "double")
        kind = "double" if kind == "null" else kind
        operator = "//" if node.operator == "/" and kind in INTEGERS and self.sql.duckdb else node.operator
        unit = lhs.unit if node.operator in "+-" and lhs.unit == rhs.unit else None
        sql = f"({self.sql.cast(lhs, kind)} {operator} {self.sql.cast(rhs, kind)})"
        return replace(compose(sql, kind, node.at, lhs, rhs, unit=unit), number=_folded(node.operator, kind, lhs, rhs))

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
            nearest = rounding.nearest_whole(self.sql, self.sql.double(value))
            sql = f"CAST({nearest} AS {self.sql.type(target)})"
        elif target in (*INTEGERS, "float", "double") and source == "boolean":
            sql = f"CAST(CAST({value.sql} AS INTEGER) AS {self.sql.type(target)})"
        elif target == "char" and source == "timestamp":  # as results have it (DALI 1.1 §3.3.3), not as engines do
            sql = f"replace(CAST({value.sql} AS {self.sql.type(target)}), ' ', 'T')"
        else:
            sql = f"CAST({value.sql} AS {self.sql.type(target)})"
        if node.length is not None:
            if not 1 <= node.length <= 100_000:
                raise Fault(f"the length of {node.target} is {node.length}", node.at, "It is from 1 to 100000.")
            sql = f"left({sql}, {node.length})"
        kind = source if target == "char" and source in STRINGS else target
        result = compose(sql, kind, node.at, value, unit=value.unit if kind in NUMBERS else None)
        return replace(result, number=value.number if kind in ("float", "double") else None, name=value.name)

    def _aggregate(self, node: Aggregate, scope: Scope) -> Translated:
        if scope.grouped is None:
            hint = "Conditions on groups stand after HAVING."
            raise Fault(f"{node.name} can't stand here, where there are rows and no groups", node.at, hint)
        if node.argument is None:
            return replace(compose("COUNT(*)", "long", node.at, name="count"), aggregated=True)
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
        metadata = value.metadata if node.name in ("MIN", "MAX") else Column("", unit=unit) if unit else None
        return Translated(sql, kind, node.at, metadata, free, aggregated=True, name=node.name.lower())

    def _call(self, node: Call, scope: Scope) -> Translated:
        signature = FUNCTIONS[node.name]
        count = len(node.arguments)
        if not signature.min_arguments <= count <= signature.max_arguments:
            raise Fault(f"{node.name} has {count} argument{'s' * (count != 1)}", node.at, f"Write {signature.form}.")
        arguments = [self.value(a, scope) for a in node.arguments]
        result = self.geometry.call(node.name, node.at, arguments) or self._simple_call(node, arguments)
        return replace(result, name=node.name.lower())

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
                return with_metadata(compose(sql, kind, node.at, arguments[0]), None)
        for argument in arguments:
            must_be_number(argument, node.name)
        if node.name in ("ROUND", "TRUNCATE"):
            return self._round(node, arguments)
        if node.name == "RAND":
            return compose("random()", "double", node.at)
        if node.name == "MOD":
            return self._mod(node, arguments)
        first = arguments[0] if arguments else None
        if node.name == "ABS" and first is not None:
            kind = "double" if first.type == "null" else arithmetic_type(first.type)
            return compose(f"abs({self.sql.cast(first, kind)})", kind, node.at, first, unit=first.unit)
        if node.name in ("CEILING", "FLOOR") and first is not None and first.type in INTEGERS:
            sql, kind = rounding.rounded_integer(self.sql, node.name, first, 0)
            return compose(sql, kind, node.at, first, unit=first.unit)
        maths = MATHS[node.name]
        template = maths.duckdb if self.sql.duckdb else maths.postgresql
        unit = first.unit if maths.unit == "=" and first is not None else maths.unit
        return compose(
            template.format(*(self.sql.double(a) for a in arguments)), "double", node.at, *arguments, unit=unit
        )

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
        return compose(sql, kind, node.at, value, unit=value.unit)

    def _mod(self, node: Call, arguments: list[Translated]) -> Translated:
        lhs, rhs = arguments
        kind = arithmetic_type(types.common(lhs.type, rhs.type) or "double")
        kind = "double" if kind == "null" else kind
        x, y = self.sql.cast(lhs, kind), self.sql.cast(rhs, kind)
        sql = f"({x} % {y})" if kind in INTEGERS or self.sql.duckdb else f"({x} - {y} * trunc({x} / {y}))"
        return compose(sql, kind, node.at, lhs, rhs, unit=lhs.unit)

    def _coalesce(self, node: Call, arguments: list[Translated]) -> Translated:
        kind = "null"
        for argument in arguments:
            common_type = types.common(kind, argument.type)
            if common_type is None:
                raise Fault(
                    f"COALESCE has {in_words(kind)} and {in_words(argument.type)}",
                    argument.at,
                    "All must be of one type.",
                )
            kind = common_type
        if all(a.type == "null" for a in arguments):
            return replace(compose("NULL", "null", node.at), literal=True)
        arrays = sorted({a.metadata.datatype for a in arguments if a.type == "other" and a.metadata})
        if len(arrays) > 1:
            raise Fault(f"COALESCE has arrays of {' and of '.join(arrays)}", node.at, "All must be of one type.")
        sql = f"COALESCE({', '.join(self.sql.cast(a, kind) for a in arguments)})"
        result = compose(sql, kind, node.at, *arguments)
        units_found = {a.unit for a in arguments if not a.literal}
        first = arguments[0].metadata
        if first is None or len(units_found) != 1:
            return result
        others = [a.metadata or types.column_of(a.type, "") for a in arguments[1:] if a.type != "null"]
        return with_metadata(result, types.with_room(first, others))

    def _in_unit(self, node: Call, arguments: list[Translated]) -> Translated:
        value, target = arguments
        must_be_number(value, "IN_UNIT")
        if target.type not in STRINGS or not target.literal:
            raise Fault("the unit of IN_UNIT is not a string constant", target.at, "Write IN_UNIT(value, 'unit').")
        name = target.sql[1:-1].replace("''", "'")
        if value.unit is None:
            subject = f"the column '{value.name}' has" if value.origin else "the value has"
            raise Fault(f"{subject} no unit to be converted from", value.at, "TAP_SCHEMA.columns lists the units.")
        try:
            factor = units.factor(value.unit, name)
        except units.UnitFault as error:
            raise Fault(str(error), target.at if error.is_target else value.at, error.hint) from None
        sql = f"({self.sql.double(value)} * {self.sql.constant(factor)})"
        result = compose(sql, "double", node.at, value)
        metadata = replace(value.metadata, unit=name) if value.metadata else Column("", unit=name)
        return with_metadata(result, metadata)


def _folded(operator: str, kind: str, lhs: Translated, rhs: Translated) -> float | None:
    """Return the result of an operation on constants.

    Radii like 1/60.0 can use an index then.
    """
    if lhs.number is None or rhs.number is None or kind != "double":
        return None
    if operator == "/" and rhs.number == 0:
        return None
    x, y = lhs.number, rhs.number
    product = {"+": x + y, "-": x - y, "*": x * y}.get(operator)
    product = x / y if product is None else product
    return product if math.isfinite(product) else None
