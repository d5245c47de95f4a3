"""The last known states of sites."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Database, Query
from uws_service.store.meta import GET_META, UPSERT_META
from uws_service.store.rows import SiteState
from uws_service.store.tables import DRAIN_TABLE, SITE_TABLE

p = bindparam
site: Any = SITE_TABLE.c
drain: Any = DRAIN_TABLE.c

SITES = Query(select(site.name, site.reachable, site.since, site.message, site.updated))


def _upsert_site(kind: Any) -> Any:
    statement = kind.insert(SITE_TABLE).values(
        {name: p(f"v_{name}") for name in ("name", "reachable", "since", "message", "updated")}
    )
    new = statement.excluded
    fields = {"reachable": new.reachable, "since": new.since, "message": new.message, "updated": new.updated}
    return statement.on_conflict_do_update(index_elements=["name"], set_=fields)


DRAINS = Query(select(drain.name, drain.reason))
UNDRAIN = Query(DRAIN_TABLE.delete().where(drain.name == p("key")))


def _upsert_drain(kind: Any) -> Any:
    statement = kind.insert(DRAIN_TABLE).values({name: p(f"v_{name}") for name in ("name", "reason", "since")})
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
        """Let no new jobs start at a site.

        Those that run there go on.
        """
        values = {"v_name": name, "v_reason": reason, "v_since": now}
        await self._database.write(lambda tx: tx.change(UPSERT_DRAIN, values))

    async def undrain(self, name: str) -> bool:
        """Let jobs start at a site again.

        False if they could.
        """
        return await self._database.write(lambda tx: tx.change(UNDRAIN, {"key": name})) == 1

    async def publish(self, name: str, text: str) -> None:
        """Keep what a source of facts about sites said last."""
        await self._database.write(lambda tx: tx.change(UPSERT_META, {"name": name, "value": text}))

    async def published(self, name: str) -> str:
        """Return what a source said last.

        Empty: nothing yet.
        """
        rows = await self._database.read(GET_META, {"name": name})
        return str(rows[0][0]) if rows else ""

    async def drains(self) -> dict[str, str]:
        """Return why sites are drained, by name."""
        return {row[0]: row[1] for row in await self._database.read(DRAINS, {})}
