"""The last known states of sites."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Database, Query
from uws_service.store.rows import SiteState
from uws_service.store.tables import DrainRow, SiteRow

p = bindparam
site: Any = SiteRow.__table__.c  # type: ignore[attr-defined]
drain: Any = DrainRow.__table__.c  # type: ignore[attr-defined]

SITES = Query(select(site.name, site.reachable, site.since, site.message, site.updated))


def _upsert_site(kind: Any) -> Any:
    statement = kind.insert(SiteRow).values(
        {name: p(f"v_{name}") for name in ("name", "reachable", "since", "message", "updated")}
    )
    new = statement.excluded
    fields = {"reachable": new.reachable, "since": new.since, "message": new.message, "updated": new.updated}
    return statement.on_conflict_do_update(index_elements=["name"], set_=fields)


DRAINS = Query(select(drain.name, drain.reason))
UNDRAIN = Query(DrainRow.__table__.delete().where(drain.name == p("key")))  # type: ignore[attr-defined]


def _upsert_drain(kind: Any) -> Any:
    statement = kind.insert(DrainRow).values({name: p(f"v_{name}") for name in ("name", "reason", "since")})
    fields = {"reason": statement.excluded.reason}
    return statement.on_conflict_do_update(index_elements=["name"], set_=fields)


UPSERT_DRAIN = Query(_upsert_drain(sqlite), _upsert_drain(postgresql))
UPSERT_SITE = Query(_upsert_site(sqlite), _upsert_site(postgresql))


class SiteStates:
    """The last known states of all sites."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, state: SiteState) -> None:
        """Record the state of a site."""
        values = {f"v_{name}": value for name, value in state._asdict().items()}
        await self._database.write(lambda tx: tx.change(UPSERT_SITE, values))

    async def all(self) -> dict[str, SiteState]:
        """Return the states of all sites, by name."""
        rows = await self._database.read(SITES, {})
        return {row[0]: SiteState(row[0], bool(row[1]), *row[2:]) for row in rows}

    async def drain(self, name: str, reason: str, now: int) -> None:
        """Let no new jobs start at a site; those that run there go on."""
        values = {"v_name": name, "v_reason": reason, "v_since": now}
        await self._database.write(lambda tx: tx.change(UPSERT_DRAIN, values))

    async def undrain(self, name: str) -> bool:
        """Let jobs start at a site again; False if they could."""
        return await self._database.write(lambda tx: tx.change(UNDRAIN, {"key": name})) == 1

    async def drains(self) -> dict[str, str]:
        """Return why sites are drained, by name."""
        return {row[0]: row[1] for row in await self._database.read(DRAINS, {})}
