"""The store: the only place that knows SQL.

`Store` is all that the rest of the service sees. Tables are SQLModel classes (``tables``), statements are made once
(``queries``), two databases stand behind one face (``sqlite``, ``postgresql``), ``feed`` follows the event table.
"""

from uws_service.store.jobs import NewJob, StaleJob, Store
from uws_service.store.rows import Event, Glance, SiteState, stored_bytes
from uws_service.store.schema import head, migrate
from uws_service.store.sites import SiteOwner, WorkFolder, lease_of

__all__ = [
    "Event",
    "Glance",
    "NewJob",
    "SiteOwner",
    "SiteState",
    "StaleJob",
    "Store",
    "WorkFolder",
    "head",
    "lease_of",
    "migrate",
    "stored_bytes",
]
