"""ADQL 2.1 to the SQL of an engine.

Pure: from text and a list of tables to text and a list of columns.

Parser and geometry are imported with the first query: what only names tables and features does without.
"""

from __future__ import annotations

from collections.abc import Sequence

from uws_service.adql.errors import AdqlError
from uws_service.adql.model import Column, Dialect, ForeignKey, Table, Translation

__all__ = ["AdqlError", "Column", "Dialect", "ForeignKey", "Table", "Translation", "translate"]


def translate(text: str, tables: Sequence[Table], dialect: Dialect) -> Translation:
    """Translate a query to SQL; see `uws_service.adql.translation.translate`."""
    from uws_service.adql import translation

    return translation.translate(text, tables, dialect)
