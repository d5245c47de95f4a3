"""TAP 1.1: published tables, queries on them in ADQL, and results in the formats of the Virtual Observatory."""

from uws_service.tap.backend import Queries
from uws_service.tap.descriptor import located

__all__ = ["Queries", "located"]
