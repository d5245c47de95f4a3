"""TAP 1.1: tables, ADQL queries and result formats."""

from uws_service.tap.backend import Queries, located

__all__ = ["Queries", "located"]
