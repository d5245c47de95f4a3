"""The store: every change of a job is one compare-and-set with its event, in one transaction."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from uws_service.domain.attempt import Attempt, Launch, Report
from uws_service.domain.errors import ConfigurationError, IdempotencyConflict, NotFound, UwsError
from uws_service.domain.job import FINAL, Job, JobRef, Phase
from uws_service.store import queries
from uws_service.store.access import AccessStore
from uws_service.store.database import Database, Transaction
from uws_service.store.feed import CHANNEL, Feed
from uws_service.store.grants import Grant, GrantStore, end_grants, put_grant
from uws_service.store.postgresql import PostgreSQL
from uws_service.store.rows import (
    Event,
    Glance,
    SiteState,
    _dumps,
    attempt_of,
    attempt_values,
    event_of,
    glance_of,
    job_of,
    job_values,
    launch_of,
    ref_of,
    report_text,
)
from uws_service.store.schema import SQLITE_PREFIX, is_postgresql, prepare
from uws_service.store.sites import SiteStore, is_held
from uws_service.store.sqlite import SQLite

T = TypeVar("T")
COUNT_SECONDS = 5.0


class StaleJob(UwsError):
    """The job is no longer the version that was read, or is gone: read it again and decide anew."""

    status = 409


def _now() -> int:
    return time.time_ns() // 1_000_000


Made = tuple[Job, Attempt | None, Sequence[Grant]]
"""A new job; its first attempt and its access to data, if it is to run."""
_NO_KEY = {"idempotency_key": None, "fingerprint": None}


class Store:
    """All that is known of jobs, attempts and events; made by `open`.

    Every method raises `ServiceUnavailable` when the database can't be reached and `StorageFull` when its disk is
    full; nothing is half done then.
    """

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._notify = isinstance(database, PostgreSQL)
        self._counts: tuple[float, dict[tuple[str, str], int]] = (-COUNT_SECONDS, {})
        self.feed = feed
        self.access = AccessStore(database)
        self.grants = GrantStore(database)
        self.owners = SiteStore(database)

    @classmethod
    async def open(cls, url: str, *, create: bool = False) -> Store:
        """Open ``sqlite:////path`` or ``postgresql://…``; ``create`` brings the schema up to date first.

        Raises
        ------
        ConfigurationError
            The URL is of another kind, or the schema is not that of this version.
        """
        await prepare(url, upgrade=create)
        feed = Feed()
        database: Database
        if is_postgresql(url):
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
        """Ask the database something; raises if it does not answer."""
        await self._database.read(queries.PING, {})

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def glance(self, job_id: str) -> Glance | None:
        """Version, application, owner and phase, by the shortest way."""
        rows = await self._database.read(queries.GLANCE, {"id": job_id})
        return glance_of(rows[0]) if rows else None

    async def get(self, job_id: str) -> Job | None:
        """The whole job."""
        rows = await self._database.read(queries.GET_JOB, {"id": job_id})
        return job_of(rows[0]) if rows else None

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
        """Pages of one owner's jobs (None: the anonymous ones), newest first (U-051…U-057).

        ARCHIVED ones come only when they are asked for (U-054); ``after`` is in milliseconds, strictly later (U-055).
        """
        params: dict[str, Any] = {"application": application, "owner_key": owner or ""}
        if after is not None:
            params["after"] = after
        if run_id is not None:
            params["run_id"] = run_id
        left = last
        while left is None or left > 0:
            size = page if left is None else min(page, left)
            names = None if phases is None else frozenset(phase.value for phase in phases)
            query = queries.list_jobs(names, after is not None, "last_id" in params, run_id is not None)
            refs = [ref_of(row) for row in await self._database.read(query, {**params, "page": size})]
            if refs:
                yield refs
            if len(refs) < size:
                return
            params |= {"last_created": refs[-1].created, "last_id": refs[-1].id}
            left = None if left is None else left - len(refs)

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
        """Insert a job, with its first attempt and access to data if it is to run; False: this key had made one before.

        Raises
        ------
        IdempotencyConflict
            The key was used for another request.
        """
        return await self.create_many([(job, attempt, grants)], actor=actor, origin=origin, idempotency=idempotency)

    async def create_many(
        self,
        jobs: Sequence[Made],
        *,
        actor: str,
        origin: str = "",
        idempotency: tuple[str, str] | None = None,
    ) -> tuple[Job, bool]:
        """`create` for all of these jobs or none; the key and what is returned are those of the first one."""
        key, fingerprint = idempotency or (None, None)
        job = jobs[0][0]

        def operation(tx: Transaction) -> tuple[str, bool]:
            if key is not None:
                found = tx.rows(
                    queries.BY_IDEMPOTENCY,
                    {"application": job.application, "owner_key": job.owner or "", "key": key},
                )
                if found:
                    if found[0][1] != fingerprint:
                        raise IdempotencyConflict("This Idempotency-Key was used for another request; use a new one.")
                    return found[0][0], False
            for one, attempt, grants in jobs:
                known = {"idempotency_key": key, "fingerprint": fingerprint} if one is job else _NO_KEY
                tx.change(queries.INSERT_JOB, {**job_values(one), **known})
                self._event(tx, one, "CREATED", actor, origin)
                if attempt is not None:
                    self._put_attempt(tx, attempt)
                for grant in grants:
                    put_grant(tx, grant)
            return job.id, True

        job_id, fresh = await self._once_more(operation) if key is not None else await self._database.write(operation)
        if fresh:
            return job, True
        existing = await self.get(job_id)
        if existing is None:
            raise NotFound("The job that this Idempotency-Key made has just been deleted.")
        return existing, False

    async def _once_more(self, operation: Callable[[Transaction], T]) -> T:
        """Two that insert the same key at the same moment: the later one meets the unique index and looks again."""
        import sqlite3

        import psycopg

        try:
            return await self._database.write(operation)
        except (sqlite3.IntegrityError, psycopg.errors.UniqueViolation):
            return await self._database.write(operation)

    async def save(
        self,
        before: Job,
        after: Job,
        *,
        kind: str,
        actor: str,
        origin: str = "",
        detail: Mapping[str, Any] | None = None,
        attempts: Sequence[Attempt] = (),
        move: tuple[Attempt, str] | None = None,
        discard: bool = False,
        grants: Sequence[Grant] = (),
    ) -> Job:
        """Compare-and-set: the row must still be ``before``'s version; event, attempts and grants go with it.

        A job that ends keeps no access to data.

        ``kind`` INFO writes no event: nobody waits for progress. ``move`` takes an attempt that was not yet handed to
        its site to another one. ``discard`` makes the job's files garbage.

        Raises
        ------
        StaleJob
            Somebody else changed or deleted the job first; nothing was written.
        """
        saved = replace(after, version=before.version + 1)
        values = job_values(saved)

        def operation(tx: Transaction) -> Job:
            changed = tx.change(queries.UPDATE_JOB, {**values, "key": before.id, "expected": before.version})
            if changed != 1:
                raise StaleJob("The job was changed by somebody else at the same moment.")
            for attempt in attempts:
                self._put_attempt(tx, attempt)
            for grant in grants:
                put_grant(tx, grant)
            if after.phase in FINAL and before.phase not in FINAL:
                end_grants(tx, before.id)
            if move is not None:
                one, to = move
                values_ = {"job_id": one.job_id, "number": one.number, "at": one.site, "to": to}
                if tx.change(queries.MOVE, values_) != 1:
                    raise StaleJob("The attempt was handed to its site at the same moment.")
            if discard:
                tx.change(queries.INSERT_GARBAGE, {"job_id": before.id, "since": _now()})
            if kind != "INFO":
                self._event(tx, saved, kind, actor, origin, detail)
            return saved

        return await self._database.write(operation)

    async def delete(self, before: Job, *, actor: str, origin: str = "") -> None:
        """Compare-and-set: the row goes, its attempts are no longer wanted, its files become garbage (U-132)."""

        def operation(tx: Transaction) -> None:
            if tx.change(queries.DELETE_JOB, {"key": before.id, "expected": before.version}) != 1:
                raise StaleJob("The job was changed by somebody else at the same moment.")
            tx.change(queries.UNWANT, {"key": before.id})
            end_grants(tx, before.id)
            tx.change(queries.INSERT_GARBAGE, {"job_id": before.id, "since": _now()})
            self._event(tx, replace(before, version=before.version + 1), "DELETED", actor, origin)

        await self._database.write(operation)

    def _event(
        self,
        tx: Transaction,
        job: Job,
        kind: str,
        actor: str,
        origin: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        told = _dumps(dict(detail)) if detail else None
        self._ring(tx, job.id, kind, job.phase.value, job.version, actor, origin, told)

    def _ring(
        self,
        tx: Transaction,
        job_id: str,
        kind: str,
        phase: str,
        version: int,
        actor: str,
        origin: str = "",
        detail: str | None = None,
    ) -> None:
        """One line of the history, and word of it to whoever follows the feed."""
        values = {
            "job_id": job_id,
            "at": _now(),
            "kind": kind,
            "phase": phase,
            "version": version,
            "actor": actor,
            "origin": origin,
            "detail": detail,
        }
        tx.rows(queries.INSERT_EVENT, values)
        if self._notify:
            tx.rows(queries.NOTIFY, {"channel": CHANNEL, "payload": ""})

    def _put_attempt(self, tx: Transaction, attempt: Attempt) -> None:
        tx.change(queries.UPSERT_ATTEMPT, {f"v_{name}": value for name, value in attempt_values(attempt).items()})

    # --- attempts -------------------------------------------------------------------------------------------------

    async def attempts(self, job_id: str) -> list[Attempt]:
        """All attempts of a job, first to last; they outlive it."""
        return [attempt_of(row) for row in await self._database.read(queries.ATTEMPTS, {"job_id": job_id})]

    async def launch(self, job_id: str, number: int) -> Launch | None:
        """Return what an open attempt runs; None for one that an older version made, or that is closed."""
        rows = await self._database.read(queries.LAUNCH, {"job_id": job_id, "number": number})
        return launch_of(rows[0][0]) if rows and rows[0][0] is not None else None

    async def save_attempt(self, attempt: Attempt) -> None:
        """Insert or update; what is no longer wanted stays so, and what is closed stays closed."""
        await self._database.write(lambda tx: self._put_attempt(tx, attempt))

    async def begin_attempt(self, attempt: Attempt, now: int, *, driver: str = "") -> bool:
        """Record that a waiting attempt goes to its site; False if it was moved, begun or given up meanwhile.

        Nothing happens either if the ``driver`` no longer holds the site's lease, or as many attempts of the owner as
        may run are at work at all sites.
        """
        values = {"job_id": attempt.job_id, "number": attempt.number, "at": attempt.site, "now": now}

        def operation(tx: Transaction) -> bool:
            if driver and not is_held(tx, attempt.site, driver):
                return False
            if attempt.owner_slots is not None:
                tx.rows(queries.LOCK_OWNER, {"owner": attempt.owner})
                if tx.rows(queries.AT_WORK_OF_OWNER, {"owner": attempt.owner})[0][0] >= attempt.owner_slots:
                    return False
            return tx.change(queries.BEGIN, values) == 1

        return await self._database.write(operation)

    async def give_back(self, attempt: Attempt, not_before: int) -> None:
        """A begun attempt that certainly never reached its site waits again."""
        values = {"job_id": attempt.job_id, "number": attempt.number, "at": attempt.site, "not_before": not_before}
        await self._database.write(lambda tx: tx.change(queries.GIVE_BACK, values))

    async def claim(self, job_id: str, number: int, pod: str) -> bool:
        """Let one pod's agent speak for an attempt; False if nobody wants it any more."""
        values = {"job_id": job_id, "number": number, "pod": pod}
        return await self._database.write(lambda tx: tx.change(queries.CLAIM, values)) == 1

    async def report(self, job_id: str, number: int, pod: str, report: Report) -> bool:
        """Record an agent's last word; False if it no longer speaks for the attempt, or that is given up: fencing."""
        values = {
            "job_id": job_id,
            "number": number,
            "pod": pod,
            "report": report_text(report),
            "cpu": report.cpu,
            "peak_memory": report.peak_memory,
        }

        def operation(tx: Transaction) -> bool:
            if tx.change(queries.REPORT, values) != 1:
                return False
            rows = tx.rows(queries.GLANCE, {"id": job_id})
            if rows:
                glance = glance_of(rows[0])
                self._ring(tx, job_id, "REPORT", glance.phase.value, glance.version, "agent")
            return True

        return await self._database.write(operation)

    async def late_usage(self, job_id: str, number: int, pod: str, cpu: float, peak_memory: int) -> None:
        """What a closed attempt's command used, from the agent that spoke for it, if that is not known yet."""
        values = {"job_id": job_id, "number": number, "pod": pod, "cpu": cpu, "peak_memory": peak_memory}
        await self._database.write(lambda tx: tx.change(queries.LATE_USAGE, values))

    async def waiting_at(self, site: str, limit: int) -> list[Attempt]:
        """Attempts that were not yet handed to a site, oldest first."""
        rows = await self._database.read(queries.WAITING_AT, {"site": site, "page": limit})
        return [attempt_of(row) for row in rows]

    async def loads(self) -> dict[str, tuple[int, int]]:
        """How many attempts wait for each site, and how many are there."""
        waiting = {row[0]: int(row[1]) for row in await self._database.read(queries.WAITING_COUNTS, {})}
        there = {row[0]: int(row[1]) for row in await self._database.read(queries.OPEN_COUNTS, {})}
        return {site: (waiting.get(site, 0), there.get(site, 0)) for site in waiting.keys() | there.keys()}

    async def live_attempts(self, site: str) -> list[Attempt]:
        """What is at a site, or must be brought to its end there."""
        return [attempt_of(row) for row in await self._database.read(queries.LIVE_ATTEMPTS, {"site": site})]

    async def next_waiting(self, site: str, free: int, now: int) -> list[Attempt]:
        """The next ones to start, fair between owners: who has the fewest at the site comes first, then the oldest.

        Owners are found by jumps over an index, so a long queue of one owner costs nothing.
        """
        owners: list[str] = []
        rows = await self._database.read(queries.FIRST_OWNER, {"site": site})
        while rows:
            owners.append(rows[0][0])
            rows = await self._database.read(queries.NEXT_OWNER, {"site": site, "owner": owners[-1]})
        if not owners:
            return []
        load = {row[0]: row[1] for row in await self._database.read(queries.OPEN_BY_OWNER, {"site": site})}
        at_work: dict[str, int] | None = None  # at all sites
        candidates: list[tuple[int, int, str, Attempt]] = []
        for owner in owners:
            params = {"site": site, "owner": owner, "now": now, "free": free}
            for rank, row in enumerate(await self._database.read(queries.OLDEST_OF_OWNER, params)):
                attempt = attempt_of(row)
                if attempt.owner_slots is not None:
                    if at_work is None:
                        at_work = {row[0]: row[1] for row in await self._database.read(queries.AT_WORK_OF_OWNERS, {})}
                    if at_work.get(owner, 0) + rank >= attempt.owner_slots:
                        break
                candidates.append((load.get(owner, 0) + rank, attempt.created, attempt.job_id, attempt))
        candidates.sort(key=lambda one: one[:3])
        return [one[3] for one in candidates[:free]]

    async def at_work(self, owner: str) -> int:
        """How many attempts of an owner are at the sites."""
        return int((await self._database.read(queries.AT_WORK_OF_OWNER, {"owner": owner}))[0][0])

    async def waiting_ahead(self, attempt: Attempt, cap: int = 1000) -> int:
        """How many attempts were waiting at the same site before this one, counted up to ``cap``."""
        params = {"site": attempt.site, "created": attempt.created, "cap": cap}
        return int((await self._database.read(queries.AHEAD, params))[0][0])

    async def usage(self, since: int, until: int, page: int = 1000) -> AsyncIterator[list[Attempt]]:
        """Closed attempts that ended in [since, until), in order of their end: the accounts."""
        params: dict[str, Any] = {
            "since": since,
            "until": until,
            "last_ended": since - 1,
            "last_id": "",
            "last_number": 0,
        }
        while True:
            rows = [attempt_of(row) for row in await self._database.read(queries.USAGE, {**params, "page": page})]
            if rows:
                yield rows
            if len(rows) < page:
                return
            last = rows[-1]
            params |= {"last_ended": last.ended, "last_id": last.job_id, "last_number": last.number}

    # --- the end of jobs ------------------------------------------------------------------------------------------

    async def due(self, now: int, limit: int) -> list[Job]:
        """Jobs whose destruction time has come (U-133)."""
        return [job_of(row) for row in await self._database.read(queries.DUE, {"now": now, "page": limit})]

    async def garbage(self, limit: int) -> list[str]:
        """Deleted and archived jobs of which nothing runs any more, and whose files are still there."""
        return [row[0] for row in await self._database.read(queries.GARBAGE, {"page": limit})]

    async def garbage_done(self, job_id: str) -> None:
        """The files of this job are gone."""
        await self._database.write(lambda tx: tx.change(queries.GARBAGE_DONE, {"key": job_id}))

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are jobs, or garbage that somebody will see to."""
        return {row[0] for one in ids for row in await self._database.read(queries.KNOWN, {"id": one})}

    async def trim_events(self, before: int) -> int:
        """Forget the history before an instant; how many lines that were."""
        return await self._database.write(lambda tx: tx.change(queries.TRIM_EVENTS, {"before": before}))

    # --- history, counts, sites -----------------------------------------------------------------------------------

    async def events(self, job_id: str) -> list[Event]:
        """The history of a job."""
        return [event_of(row) for row in await self._database.read(queries.EVENTS, {"job_id": job_id})]

    async def phase_counts(self) -> dict[tuple[str, str], int]:
        """Jobs by application and phase; counted at most every few seconds."""
        at, counts = self._counts
        if time.monotonic() - at >= COUNT_SECONDS:
            rows = await self._database.read(queries.COUNTS, {})
            fresh = {(row[0], row[1]): int(row[2]) for row in rows}
            counts = {**dict.fromkeys(counts, 0), **fresh}  # what has vanished is shown as 0
            self._counts = (time.monotonic(), counts)
        return counts

    async def put_site(self, state: SiteState) -> None:
        """Record how a site is."""
        values = {f"v_{name}": value for name, value in state._asdict().items()}
        await self._database.write(lambda tx: tx.change(queries.UPSERT_SITE, values))

    async def sites(self) -> dict[str, SiteState]:
        """How the sites were at the last look."""
        rows = await self._database.read(queries.SITES, {})
        return {row[0]: SiteState(row[0], bool(row[1]), *row[2:]) for row in rows}

    async def name(self) -> str:
        """A name that this database got once: two services with one namespace tell their Jobs apart by it."""

        def operation(tx: Transaction) -> str:
            tx.change(queries.INSERT_META, {"name": "instance", "value": secrets.token_hex(6)})
            return str(tx.rows(queries.GET_META, {"name": "instance"})[0][0])

        return await self._database.write(operation)
