"""The store: the only place that knows SQL.

`Store` is what the rest of the service uses: jobs, and by name its parts (``attempts``, ``history``, ``garbage``,
``site_states``, ``access``, ``grants``, ``owners``, ``runners``, ``lookups``). Tables are SQLModel classes
(``tables``). Statements stand at the head of each part, those of jobs in ``queries``. There are two databases
(``sqlite``, ``postgresql``) behind one interface (``database``); ``feed`` follows the history.
"""

from uws_service.store.jobs import NewJob, StaleJob, Store
from uws_service.store.lookups import Lookup
from uws_service.store.rows import Event, Glance, SiteState, stored_bytes
from uws_service.store.schema import head, migrate
from uws_service.store.sites import SiteOwner, WorkFolder, lease_of

__all__ = [
    "Event",
    "Glance",
    "Lookup",
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
