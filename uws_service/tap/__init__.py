"""TAP 1.1: tables, ADQL queries and result formats."""

from uws_service.tap.backend import Queries
from uws_service.tap.descriptor import with_catalogue_folder

__all__ = ["Queries", "with_catalogue_folder"]
