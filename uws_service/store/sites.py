"""Leases of sites, and the work folders of local sites.

All instants are those of the database, so the clocks of the machines do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Database, Query, Transaction
from uws_service.store.tables import ATTEMPT_TABLE, LEASE_TABLE

p = bindparam
_lease: Any = LEASE_TABLE.c
_attempt: Any = ATTEMPT_TABLE.c

CLOCK = Query(
    select(literal_column("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)")),
    select(literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")),
)


def _insert(kind: Any) -> Any:
    statement = kind.insert(LEASE_TABLE).values(
        name=p("name"), holder=literal_column("''"), until=literal_column("0"), fencing=literal_column("0")
    )
    return statement.on_conflict_do_nothing(index_elements=["name"])


_INSERT = Query(_insert(sqlite), _insert(postgresql))
_GET = Query(select(_lease.holder, _lease.until, _lease.fencing).where(_lease.name == p("key")))
_FENCING = Query(
    select(_lease.fencing)
    .where(_lease.name == p("key"), _lease.holder == p("held_by"))
    .with_for_update(read=True)  # nobody takes the lease before this transaction ends
)
_UPDATE = Query(
    update(LEASE_TABLE)
    .where(_lease.name == p("key"), _lease.fencing == p("expected"), _lease.holder == p("before"))
    .values(holder=p("holder"), until=p("until"), fencing=p("fencing"))
)
_RELEASE = Query(
    update(LEASE_TABLE).where(_lease.name == p("key"), _lease.holder == p("before")).values(until=literal_column("0"))
)
_OPEN = Query(
    select(func.count()).where(
        _attempt.site == p("site"),
        _attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")]),
    )
)


def lease_of(site: str) -> str:
    """Return the name of a site's lease."""
    return f"site:{site}"


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """The work folder of a local site.

    A random id, machine and path.
    """

    id: str
    host: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.id} {self.host} {self.path}"

    @classmethod
    def parse(cls, text: str) -> WorkFolder:
        """Read what `str` wrote."""
        identity, _, place = text.partition(" ")
        host, _, path = place.partition(" ")
        return cls(identity, host, path)


@dataclass(frozen=True, slots=True)
class SiteOwner:
    """The process or folder that drives a site."""

    holder: str
    """Empty: there was none, or an operator released the site."""
    remaining: int
    """Milliseconds for which it is held; not positive: since when it no longer is."""
    attempts: int
    """How many attempts are there."""

    @property
    def folder(self) -> WorkFolder:
        """Return the folder that drives a local site."""
        return WorkFolder.parse(self.holder)


class _Occupied(Exception):
    """Jobs may still run at the former owner's."""


def is_held(tx: Transaction, site: str, holder: str) -> bool:
    """Return whether a holder has the site's lease.

    It keeps it up to the end of the transaction.
    """
    return bool(tx.rows(_FENCING, {"key": lease_of(site), "held_by": holder}))


class SiteStore:
    """Leases and owners of sites."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire_lease(self, name: str, holder: str, ttl_ms: int) -> int | None:
        """Take or renew a lease.

        Return its fencing number.

        None: another holder has it.
        """

        def operation(tx: Transaction) -> int | None:
            tx.change(_INSERT, {"name": name})
            now, (current, until, fencing) = now_of(tx), tx.rows(_GET, {"key": name})[0]
            if current != holder and until > now:
                return None
            number = fencing if current == holder and until > now else fencing + 1
            return number if _take(tx, name, current, fencing, (holder, now + ttl_ms, number)) else None

        return await self._database.write(operation)

    async def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""
        await self._database.write(lambda tx: tx.change(_RELEASE, {"key": name, "before": holder}))

    async def own(self, site: str, folder: WorkFolder, ttl_ms: int, lost_ms: int) -> SiteOwner | None:
        """Take or keep a local site for a work folder.

        Returns None, or else the owner that has it.

        The jobs of a local site run in one folder of one machine. That folder takes its site back at any time.
        Another one gets it only when the owner's lease has run out, and no job can run at the owner any more: no
        attempt is open there, or the owner's folder was replaced by this one, or it was silent for ``lost_ms``.
        """
        name, holder = lease_of(site), str(folder)

        def operation(tx: Transaction) -> SiteOwner | None:
            tx.change(_INSERT, {"name": name})
            now, (current, until, fencing) = now_of(tx), tx.rows(_GET, {"key": name})[0]
            owner = WorkFolder.parse(current)
            moves = owner.id != folder.id
            if until > now and (moves or owner.host != folder.host):
                return self._owner(tx, site)
            number = fencing if current == holder and until > now else fencing + 1
            if not _take(tx, name, current, fencing, (holder, now + ttl_ms, number)):
                return self._owner(tx, site)
            replaced = (owner.host, owner.path) == (folder.host, folder.path)
            may_run = moves and owner.id and not replaced and now - until < lost_ms
            # Counted after the lease is taken: the former owner can't begin another attempt any more.
            if may_run and tx.rows(_OPEN, {"site": site})[0][0]:
                raise _Occupied
            return None

        try:
            return await self._database.write(operation)
        except _Occupied:
            return await self.owner(site)

    async def owner(self, site: str) -> SiteOwner:
        """Return the owner of a site."""
        return await self._database.write(lambda tx: self._owner(tx, site))

    @staticmethod
    def _owner(tx: Transaction, site: str) -> SiteOwner:
        rows = tx.rows(_GET, {"key": lease_of(site)})
        holder, until = rows[0][:2] if rows else ("", 0)
        return SiteOwner(holder, until - now_of(tx), int(tx.rows(_OPEN, {"site": site})[0][0]))

    async def release(self, site: str) -> SiteOwner:
        """Release a site whose owner has stopped.

        Return that owner.

        A site that is driven now keeps its owner.
        """

        def operation(tx: Transaction) -> SiteOwner:
            before = self._owner(tx, site)
            if before.holder and before.remaining <= 0:
                current, _, fencing = tx.rows(_GET, {"key": lease_of(site)})[0]
                if current == before.holder:
                    _take(tx, lease_of(site), current, fencing, ("", 0, fencing + 1))
            return before

        return await self._database.write(operation)


def now_of(tx: Transaction) -> int:
    """Return the database's clock, in milliseconds since the epoch."""
    return int(tx.rows(CLOCK, {})[0][0])


def _take(tx: Transaction, name: str, before: str, expected: int, after: tuple[str, int, int]) -> bool:
    holder, until, fencing = after
    values = {"key": name, "expected": expected, "before": before}
    return tx.change(_UPDATE, {**values, "holder": holder, "until": until, "fencing": fencing}) == 1
