"""The entry point of the translator."""

from __future__ import annotations

from collections.abc import Sequence

from uws_service.adql.errors import AdqlError, Fault
from uws_service.adql.model import Dialect, Table, Translation
from uws_service.adql.parser import parse
from uws_service.adql.queries import Queries
from uws_service.adql.translated import Sql


def translate(text: str, tables: Sequence[Table], dialect: Dialect) -> Translation:
    """Translate an ADQL 2.1 query to SQL.

    Parameters
    ----------
    text
        The query.
    tables
        What it may read: published tables, TAP_SCHEMA, and uploads of the schema TAP_UPLOAD.
    dialect
        The engine's, as `Engine.dialect` tells it.

    Raises
    ------
    AdqlError
        With line, column and a hint, when the query is not ADQL, names what is not there or mixes types.
    """
    try:
        queries = Queries(Sql(dialect), tables)
        result = queries.query(parse(text), None)
    except Fault as fault:
        raise fault.located(text) from None
    except RecursionError:
        raise AdqlError("the query is nested too deeply", 1, 1, "Compute parts of it in WITH or a subquery.") from None
    columns = tuple(o.column for o in result.outputs)
    return Translation(queries.complete(result.sql), columns, tuple(queries.tables_read), result.limit)
