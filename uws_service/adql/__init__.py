"""ADQL 2.1 to the SQL of an engine.

Pure: from text and a list of tables to text and a list of columns.
"""

from uws_service.adql.errors import AdqlError
from uws_service.adql.model import Column, Dialect, ForeignKey, Table, Translation
from uws_service.adql.translate import translate

__all__ = ["AdqlError", "Column", "Dialect", "ForeignKey", "Table", "Translation", "translate"]
