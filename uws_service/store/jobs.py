"""Jobs in the store; each change is a compare-and-set with its event."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import ConfigurationError, NotFound, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.job import FINAL, Job, JobRef, Phase
from uws_service.domain.price import Hold
from uws_service.offload import offload
from uws_service.store import queries
from uws_service.store.access import AccessStore
from uws_service.store.attempts import Attempts, Take, begin_attempt, move_attempt
from uws_service.store.batched import BatchedReads
from uws_service.store.budgets import BudgetStore, take_holds
from uws_service.store.database import Database, Transaction
from uws_service.store.feed import Feed
from uws_service.store.garbage import Garbage, add_garbage
from uws_service.store.grants import Grant, GrantStore, end_grants, put_grant
from uws_service.store.history import History
from uws_service.store.job_search import JobSearch
from uws_service.store.lookups import Lookups, resolve_attempt
from uws_service.store.meta import get_or_set
from uws_service.store.notifications import Notifications
from uws_service.store.overview import Overview
from uws_service.store.queue import Queue
from uws_service.store.repeats import Keyed, Repeats
from uws_service.store.rows import (
    JOB_COLUMNS,
    Glance,
    glance_of,
    job_of,
    job_values,
    ref_of,
    results_bytes,
    values_beside_parameters,
)
from uws_service.store.runners import RunnerStore
from uws_service.store.schema import SQLITE_PREFIX, is_postgresql, prepare
from uws_service.store.site_states import SiteStates
from uws_service.store.sites import SiteStore
from uws_service.store.sources import Sources, put_sources, replace_sources
from uws_service.store.sqlite import SQLite
from uws_service.store.usage import UsageStore

T = TypeVar("T")
COUNT_SECONDS = 5.0


class StaleJob(UwsError):
    """The job was changed or deleted since it was read."""

    status = 409


NewJob = tuple[Job, Attempt | None, Sequence[Grant]]
"""A new job; its first attempt and its access to data, if it is to run."""
_PARAMETERS = JOB_COLUMNS.index("parameters")
_NO_KEY = {"idempotency_key": None, "fingerprint": None}


def _update(tx: Transaction, before: Job, after: Job) -> bool:
    """Write a job's row; return whether it had the version of ``before``.

    Parameters that are the same are not written again: they may be many MiB.
    """
    key = {"key": before.id, "expected": before.version}
    if after.parameters is before.parameters:
        more = results_bytes(after) - results_bytes(before)
        values = {**values_beside_parameters(after), **key, "more": more}
        return tx.change(queries.UPDATE_BESIDE_PARAMETERS, values) == 1
    return tx.change(queries.UPDATE_JOB, {**job_values(after), **key}) == 1


def _follow(tx: Transaction, before: Job, after: Job) -> None:
    """Change what hangs on a job.

    Its access to data ends with it, its sources go with its parameters.
    """
    if after.phase in FINAL and before.phase not in FINAL:
        end_grants(tx, before.id)
    if after.parameters != before.parameters:
        replace_sources(tx, before, after)


def _change_place(
    tx: Transaction, move: tuple[Attempt, str] | None, take: tuple[Attempt, Take] | None, resolved: Attempt | None
) -> None:
    """Change where an attempt waits or is, or raise `StaleJob`."""
    if move is not None and not move_attempt(tx, *move):
        raise StaleJob("The attempt was handed to its site at the same moment.")
    if take is not None and not begin_attempt(tx, *take):
        raise StaleJob("The attempt can't be taken by this site now.")
    if resolved is not None and not resolve_attempt(tx, resolved):
        raise StaleJob("The attempt does not wait for its data any more.")


def _change_grants(tx: Transaction, before: Job, after: Job, grants: Sequence[Grant]) -> None:
    """Store access to data.

    A job that ends keeps none.
    """
    for grant in grants:
        put_grant(tx, grant)
    if after.phase in FINAL and before.phase not in FINAL:
        end_grants(tx, before.id)


class Store:
    """Jobs, and the other parts of the store.

    Every method raises `ServiceUnavailable` when the database can't be reached and `StorageFull` when its disk is
    full; nothing is half done then.
    """

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._counts: tuple[float, dict[tuple[str, str], int]] = (-COUNT_SECONDS, {})
        self._glances = None if isinstance(database, SQLite) else BatchedReads(database, queries.GLANCES)
        self.feed = feed
        self.history = History(database)
        self.attempts = Attempts(database, self.history)
        self.queue = Queue(database)
        self.garbage = Garbage(database)
        self.site_states = SiteStates(database)
        self.access = AccessStore(database)
        self.grants = GrantStore(database)
        self.owners = SiteStore(database)
        self.runners = RunnerStore(database)
        self.lookups = Lookups(database)
        self.overview = Overview(database)
        self.search = JobSearch(database)
        self.notifications = Notifications(database)
        self.repeats = Repeats(database)
        self.usage = UsageStore(database)
        self.budgets = BudgetStore(database)
        self.sources = Sources(database)

    @classmethod
    async def open(cls, url: str, *, create: bool = False) -> Store:
        """Open ``sqlite:////path`` or ``postgresql://…``.

        ``create`` migrates the schema first.

        Raises
        ------
        ConfigurationError
            The URL is of another kind, or the schema is not that of this version.
        """
        await prepare(url, upgrade=create)
        feed = Feed()
        database: Database
        if is_postgresql(url):
            from uws_service.store.postgresql import PostgreSQL  # with its driver

            postgresql = PostgreSQL(url)
            await postgresql.open()
            database = postgresql
        elif url.startswith(SQLITE_PREFIX):
            database = SQLite(url.removeprefix(SQLITE_PREFIX), feed.ring)
        else:
            raise ConfigurationError(
                f"database: {url.split(':')[0]!r} is not known; use sqlite:////… or postgresql://…"
            )
        feed.bind(database)
        return cls(database, feed)

    async def close(self) -> None:
        """Finish what is being written, then close."""
        await self._database.close()

    async def ping(self) -> None:
        """Raise unless the database answers."""
        await self._database.read(queries.PING, {})

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def glance(self, job_id: str) -> Glance | None:
        """Return version, application, owner and phase."""
        if self._glances is not None:
            row = await self._glances.get(job_id)
            return glance_of(row) if row is not None else None
        rows = await self._database.read(queries.GLANCE, {"id": job_id})
        return glance_of(rows[0]) if rows else None

    async def get(self, job_id: str) -> Job | None:
        """Return a job, or None if there is none."""
        rows = await self._database.read(queries.GET_JOB, {"id": job_id})
        if rows and rows[0][_PARAMETERS] is None:
            rows = await self._database.read_large(queries.GET_WHOLE_JOB, {"id": job_id})
        return await offload(len(rows[0][_PARAMETERS]), job_of, rows[0]) if rows else None

    async def list_jobs(
        self,
        application: str,
        *,
        owner: str | None,
        phases: frozenset[Phase] | None = None,
        after: int | None = None,
        last: int | None = None,
        run_id: str | None = None,
        page: int = 1000,
    ) -> AsyncIterator[list[JobRef]]:
        """Yield pages of an owner's jobs, newest first (U-051…U-057).

        Without an ``owner`` they are the anonymous ones. ARCHIVED jobs come only with ``phases`` that name them
        (U-054); ``after`` is in milliseconds, strictly later (U-055).
        """
        params: dict[str, Any] = {"application": application, "owner_key": owner or ""}
        if after is not None:
            params["after"] = after
        if run_id is not None:
            params["run_id"] = run_id
        remaining = last
        while remaining is None or remaining > 0:
            size = page if remaining is None else min(page, remaining)
            names = None if phases is None else frozenset(phase.value for phase in phases)
            query = queries.list_jobs(names, after is not None, "last_id" in params, run_id is not None)
            refs = [ref_of(row) for row in await self._database.read(query, {**params, "page": size})]
            if refs:
                yield refs
            if len(refs) < size:
                return
            params |= {"last_created": refs[-1].created, "last_id": refs[-1].id}
            remaining = None if remaining is None else remaining - len(refs)

    async def create(
        self,
        job: Job,
        *,
        actor: str,
        origin: str = "",
        idempotency: tuple[str, str] | None = None,
        attempt: Attempt | None = None,
        grants: Sequence[Grant] = (),
    ) -> tuple[Job, bool]:
        """Insert a job, and its attempt and grants if it is to run.

        Returns the job and whether it is new: the same key may have created it before.

        Raises
        ------
        IdempotencyConflict
            The key was used for another request.
        """
        return await self.create_many([(job, attempt, grants)], actor=actor, origin=origin, idempotency=idempotency)

    async def create_many(
        self,
        jobs: Sequence[NewJob],
        *,
        actor: str,
        origin: str = "",
        idempotency: tuple[str, str] | None = None,
    ) -> tuple[Job, bool]:
        """Insert all of these jobs or none.

        See `create`.

        The key and what is returned are those of the first one.
        """
        key, fingerprint = idempotency or (None, None)
        first = jobs[0][0]

        def operation(tx: Transaction) -> tuple[str, bool]:
            if key is not None:
                rows = tx.rows(
                    queries.BY_IDEMPOTENCY,
                    {"application": first.application, "owner_key": first.owner or "", "key": key},
                )
                if rows:
                    Keyed(*rows[0]).require_same(fingerprint)
                    return rows[0][0], False
            for job, attempt, grants in jobs:
                columns = {"idempotency_key": key, "fingerprint": fingerprint} if job is first else _NO_KEY
                tx.change(queries.INSERT_JOB, {**job_values(job), **columns})
                put_sources(tx, job)
                self.history.record(tx, job, EventKind.CREATED, actor, origin)
                if attempt is not None:
                    self.attempts.put(tx, attempt)
                for grant in grants:
                    put_grant(tx, grant)
            return first.id, True

        write = self._database.write if key is None else self._write_unique
        job_id, is_new = await write(operation)
        if is_new:
            return first, True
        existing = await self.get(job_id)
        if existing is None:
            raise NotFound("The job that this Idempotency-Key made has just been deleted.")
        return existing, False

    async def _write_unique(self, operation: Callable[[Transaction], T]) -> T:
        """Write; retry if another request inserted the same key.

        The later one meets the unique index, and finds the row at its second try.
        """
        try:
            return await self._database.write(operation)
        except self._database.duplicate:
            return await self._database.write(operation)

    async def save(
        self,
        before: Job,
        after: Job,
        *,
        kind: EventKind,
        actor: str,
        origin: str = "",
        detail: Mapping[str, Any] | None = None,
        attempts: Sequence[Attempt] = (),
        move: tuple[Attempt, str] | None = None,
        take: tuple[Attempt, Take] | None = None,
        resolved: Attempt | None = None,
        discard: bool = False,
        grants: Sequence[Grant] = (),
        holds: Sequence[Hold] = (),
    ) -> Job:
        """Save a job if its row still has the version of ``before``.

        A job that ends keeps no access to data.

        Parameters
        ----------
        kind
            INFO writes no event: nobody waits for progress.
        move
            An attempt that was not yet handed to its site, and the site that it goes to instead.
        take
            A waiting attempt of the network, and the site that takes it.
        resolved
            An attempt that waited for its data, with its site and its launch now.
        holds
            What is to be held in budgets beyond what is held already.

        Raises
        ------
        StaleJob, BudgetExceeded
            Another writer was first; a budget has not enough left. Nothing was written.
        """
        saved = replace(after, version=before.version + 1)

        def operation(tx: Transaction) -> Job:
            if not _update(tx, before, saved):
                raise StaleJob("The job was changed by somebody else at the same moment.")
            self.attempts.put(tx, *attempts)
            take_holds(tx, before.id, holds)
            for grant in grants:
                put_grant(tx, grant)
            _follow(tx, before, after)
            _change_place(tx, move, take, resolved)
            if discard:
                add_garbage(tx, before.id)
            if kind is not EventKind.INFO:
                self.history.record(tx, saved, kind, actor, origin, detail)
            return saved

        return await self._database.write(operation)

    async def delete(self, before: Job, *, actor: str, origin: str = "") -> None:
        """Delete a job that still has this version (U-132).

        Its attempts are no longer wanted, its files become garbage.
        """

        def operation(tx: Transaction) -> None:
            if tx.change(queries.DELETE_JOB, {"key": before.id, "expected": before.version}) != 1:
                raise StaleJob("The job was changed by somebody else at the same moment.")
            self.attempts.unwant(tx, before.id)
            end_grants(tx, before.id)
            replace_sources(tx, before, None)
            add_garbage(tx, before.id)
            self.history.record(tx, replace(before, version=before.version + 1), EventKind.DELETED, actor, origin)

        await self._database.write(operation)

    async def due(self, now: int, limit: int) -> list[Job]:
        """Return jobs whose destruction time has come (U-133)."""
        rows = await self._database.read_large(queries.DUE, {"now": now, "page": limit})
        size = sum(len(row[_PARAMETERS]) for row in rows)
        return await offload(size, lambda: [job_of(row) for row in rows])

    async def phase_counts(self) -> dict[tuple[str, str], int]:
        """Return numbers of jobs by application and phase.

        They are counted every few seconds at most.
        """
        at, counts = self._counts
        if time.monotonic() - at >= COUNT_SECONDS:
            rows = await self._database.read(queries.COUNTS, {})
            fresh = {(row[0], row[1]): int(row[2]) for row in rows}
            counts = {**dict.fromkeys(counts, 0), **fresh}  # what has vanished is shown as 0
            self._counts = (time.monotonic(), counts)
        return counts

    async def name(self) -> str:
        """Return the name of this database.

        Two services with the same namespace tell their Jobs apart by it.
        """
        return await self._database.write(lambda tx: get_or_set(tx, "instance", secrets.token_hex(6)))
