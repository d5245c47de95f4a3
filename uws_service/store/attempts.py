"""Attempts in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, case, func, literal_column, null, select, tuple_, update

from uws_service.domain.attempt import Attempt, AttemptState, Launch, Report
from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.meter import Meter
from uws_service.domain.usage_record import UsageRecord, correction, month_of, total
from uws_service.store import queries
from uws_service.store.budgets import take_holds
from uws_service.store.database import Database, Query, Transaction
from uws_service.store.ends import UPSERT_ATTEMPT, close_attempt, close_waiting, settle_ended, upsert_values
from uws_service.store.history import History
from uws_service.store.lookups import bring_attempt, put_lookup
from uws_service.store.rows import ATTEMPT_COLUMNS, attempt_of, glance_of, launch_of, report_text
from uws_service.store.sites import is_held
from uws_service.store.tables import ATTEMPT_TABLE
from uws_service.store.usage import put_record, records_of

p = bindparam
HALF_LIFE_MS = 7 * 86_400_000.0
attempt: Any = ATTEMPT_TABLE.c
_ATTEMPT = [attempt[name] for name in ATTEMPT_COLUMNS]

ATTEMPTS = Query(select(*_ATTEMPT).where(attempt.job_id == p("job_id")).order_by(attempt.number))
_OPEN = and_(attempt.site == p("site"), attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")]))
_UNWANTED = and_(attempt.site == p("site"), attempt.wanted.is_(False), attempt.state != literal_column("'CLOSED'"))
LIVE_ATTEMPTS = Query(select(*_ATTEMPT).where(_OPEN).union(select(*_ATTEMPT).where(_UNWANTED)))
_WAITING = and_(attempt.site == p("site"), attempt.state == literal_column("'WAITING'"))
_AT_WORK = attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")])
AT_WORK_OF_OWNER = Query(select(func.count()).where(_AT_WORK, attempt.owner == p("owner")))
# Two processes that begin attempts of one owner do so one after the other. SQLite has one writer at a time.
LOCK_OWNER = Query(
    select(literal_column("1")).where(p("owner") == p("owner")),
    select(func.pg_advisory_xact_lock(func.hashtextextended(p("owner"), literal_column("875310")))),
)
AHEAD = Query(
    select(func.count()).select_from(
        select(attempt.job_id).where(_WAITING, attempt.created < p("created")).limit(p("cap", required=True)).subquery()
    )
)
UNWANT = Query(update(ATTEMPT_TABLE).where(attempt.job_id == p("key")).values(wanted=literal_column("false")))


_OPEN_STATE = attempt.state != literal_column("'CLOSED'")
_KEY = and_(attempt.job_id == p("job_id"), attempt.number == p("number"))
WISH = Query(select(attempt.wish).where(_KEY))
LAUNCH = Query(select(attempt.launch).where(_KEY))
# Hand a waiting attempt to its site, give it back, or to another site: only one of several writers can.
BEGIN = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, attempt.site == p("at"), attempt.state == literal_column("'WAITING'"), attempt.wanted.is_(True))
    .values(state=literal_column("'SUBMITTED'"), submitted=p("now"), site=p("to"))
)
GIVE_BACK = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, attempt.site == p("at"), attempt.state == literal_column("'SUBMITTED'"), attempt.wanted.is_(True))
    .values(
        state=literal_column("'WAITING'"),
        submitted=null(),
        not_before=p("not_before"),
        site=case((attempt.network.is_(True), literal_column("''")), else_=attempt.site),
    )
)
MOVE = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, attempt.site == p("at"), attempt.state == literal_column("'WAITING'"), attempt.wanted.is_(True))
    .values(site=p("to"))
)
# The last pod to claim an attempt speaks for it; what an earlier one said is void.
CLAIM = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, _OPEN_STATE, attempt.wanted.is_(True))
    .values(claimed=p("pod"), report=case((attempt.claimed == p("pod"), attempt.report), else_=None))
)
# A ticket is good for one start of an agent: whoever comes second is refused, whatever became of the first.
CLAIM_ONCE = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, _OPEN_STATE, attempt.wanted.is_(True), attempt.claimed.in_([literal_column("''"), p("pod")]))
    .values(claimed=p("pod"), alive_until=p("alive_until"))
)
ALIVE = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, _OPEN_STATE, attempt.wanted.is_(True), attempt.claimed == p("pod"))
    .values(alive_until=p("alive_until"))
)
REPORT = Query(
    update(ATTEMPT_TABLE)
    .where(_KEY, _OPEN_STATE, attempt.claimed == p("pod"))
    .values(report=p("report"), cpu=p("cpu"), peak_memory=p("peak_memory"))
)
LATE_USAGE = Query(
    update(ATTEMPT_TABLE)
    .where(
        _KEY,
        attempt.state == literal_column("'CLOSED'"),
        attempt.claimed == p("pod"),
        attempt.cpu == literal_column("0"),
        attempt.peak_memory == literal_column("0"),
    )
    .values(cpu=p("cpu"), peak_memory=p("peak_memory"))
    .returning(attempt.ended)
)
WAITING_AT = Query(
    select(*_ATTEMPT)
    .where(_WAITING, attempt.wanted.is_(True))
    .order_by(attempt.created, attempt.job_id)
    .limit(p("page", required=True))
)
WAITING_COUNTS = Query(
    select(attempt.site, func.count()).where(attempt.state == literal_column("'WAITING'")).group_by(attempt.site)
)
OPEN_COUNTS = Query(
    select(attempt.site, func.count())
    .where(attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")]))
    .group_by(attempt.site)
)

OUTCOMES = Query(
    select(attempt.site, attempt.application, attempt.reason, func.count(), func.max(attempt.ended))
    .where(attempt.state == literal_column("'CLOSED'"), attempt.ended >= p("since"))
    .group_by(attempt.site, attempt.application, attempt.reason)
)
HISTORY = Query(
    select(
        attempt.site,
        attempt.application,
        attempt.size_class,
        attempt.created,
        attempt.submitted,
        attempt.started,
        attempt.ended,
        attempt.reason.is_(None),
    )
    .where(
        attempt.state == literal_column("'CLOSED'"),
        attempt.ended >= p("since"),
        attempt.started.is_not(None),
        attempt.submitted.is_not(None),
    )
    .order_by(attempt.ended.desc())
    .limit(p("page", required=True))
)
_USAGE_KEY = (attempt.ended, attempt.job_id, attempt.number)
USAGE = Query(
    select(*_ATTEMPT)
    .where(
        attempt.state == literal_column("'CLOSED'"),
        attempt.ended >= p("since"),
        attempt.ended < p("until"),
        attempt.ended >= p("last_ended"),
        tuple_(*_USAGE_KEY) > tuple_(p("last_ended"), p("last_id"), p("last_number")),
    )
    .order_by(*_USAGE_KEY)
    .limit(p("page", required=True))
)


def move_attempt(tx: Transaction, attempt: Attempt, site: str) -> bool:
    """Move a waiting attempt to another site.

    False if it no longer waits.
    """
    values = {"job_id": attempt.job_id, "number": attempt.number, "at": attempt.site, "to": site}
    return tx.change(MOVE, values) == 1


class OutcomeCount(NamedTuple):
    """How often attempts at a site ended alike, and when the latest did."""

    site: str
    application: str
    reason: str | None
    count: int  # type: ignore[assignment]
    latest: int


class Take(NamedTuple):
    """A site takes a waiting attempt at an instant, if its ``driver`` still holds the lease."""

    site: str
    now: int
    driver: str = ""
    brings: bool = False
    """Whether the attempt waits at the site until its data are brought there."""


def begin_attempt(tx: Transaction, attempt: Attempt, take: Take) -> bool:
    """Mark a waiting attempt as submitted to a site within a transaction; see `Attempts.begin`."""
    values = {"job_id": attempt.job_id, "number": attempt.number, "at": attempt.site, "to": take.site, "now": take.now}
    if take.driver and not is_held(tx, take.site, take.driver):
        return False
    if take.brings:
        return bring_attempt(tx, attempt, take.site, take.now)
    if attempt.owner_slots is not None:
        tx.rows(LOCK_OWNER, {"owner": attempt.owner})
        if tx.rows(AT_WORK_OF_OWNER, {"owner": attempt.owner})[0][0] >= attempt.owner_slots:
            return False
    return tx.change(BEGIN, values) == 1


class Attempts:
    """The attempts of all jobs, deleted ones included."""

    def __init__(self, database: Database, history: History) -> None:
        self._database = database
        self._history = history
        self.half_life_ms = HALF_LIFE_MS
        """Time in which what groups and owners have used counts half as much."""
        self.meter = Meter()
        """The rules by which attempts that end are accounted for."""

    def put(self, tx: Transaction, *attempts: Attempt) -> None:
        """Insert or update attempts within a transaction.

        Each that ends gets its record, once.
        """
        ended: list[UsageRecord] = []
        for attempt in attempts:
            if attempt.state is AttemptState.CLOSED:
                ended += close_attempt(tx, attempt, self.meter, self.half_life_ms)
            else:
                tx.change(UPSERT_ATTEMPT, upsert_values(attempt))
                ended += close_waiting(tx, attempt.job_id, self.meter) if not attempt.wanted else []
            put_lookup(tx, attempt)
            if attempt.holds:
                take_holds(tx, attempt.job_id, attempt.holds)
        settle_ended(tx, ended, self.meter)

    def unwant(self, tx: Transaction, job_id: str) -> None:
        """Mark all attempts of a job as unwanted within a transaction; those that wait are closed."""
        tx.change(UNWANT, {"key": job_id})
        settle_ended(tx, close_waiting(tx, job_id, self.meter), self.meter)

    async def of(self, job_id: str) -> list[Attempt]:
        """Return the attempts of a job, first to last."""
        return [attempt_of(row) for row in await self._database.read(ATTEMPTS, {"job_id": job_id})]

    async def launch(self, job_id: str, number: int) -> Launch | None:
        """Return what an open attempt runs.

        None for one that an older version made, or that is closed.
        """
        rows = await self._database.read(LAUNCH, {"job_id": job_id, "number": number})
        return launch_of(rows[0][0]) if rows and rows[0][0] is not None else None

    async def wish(self, job_id: str, number: int) -> str:
        """Return what an open attempt needs of a site, as JSON; empty if an older version made it."""
        rows = await self._database.read(WISH, {"job_id": job_id, "number": number})
        return rows[0][0] or "" if rows else ""

    async def save(self, attempt: Attempt) -> None:
        """Insert or update an attempt; see `uws_service.store.ends`."""
        await self._database.write(lambda tx: self.put(tx, attempt))

    async def begin(self, attempt: Attempt, take: Take) -> bool:
        """Mark a waiting attempt as submitted to a site.

        Returns False if it was moved, submitted or given up meanwhile; also if the ``driver`` no longer holds the
        site's lease, or as many attempts of the owner as may run are at work at all sites.
        """
        return await self._database.write(lambda tx: begin_attempt(tx, attempt, take))

    async def give_back(self, attempt: Attempt, not_before: int, driver: str = "") -> bool:
        """Mark an attempt as waiting that never reached its site.

        Returns False if nobody wants it any more, or if the ``driver`` no longer holds the site's lease: the next one
        may have handed it over since.
        """
        values = {"job_id": attempt.job_id, "number": attempt.number, "at": attempt.site, "not_before": not_before}

        def operation(tx: Transaction) -> bool:
            return (not driver or is_held(tx, attempt.site, driver)) and tx.change(GIVE_BACK, values) == 1

        return await self._database.write(operation)

    async def claim(self, job_id: str, number: int, pod: str) -> bool:
        """Let a pod's agent speak for an attempt.

        False if it is unwanted.
        """
        values = {"job_id": job_id, "number": number, "pod": pod}
        return await self._database.write(lambda tx: tx.change(CLAIM, values)) == 1

    async def claim_once(self, job_id: str, number: int, start: str, alive_until: int) -> bool:
        """Let one start of an agent speak for an attempt; False if it is unwanted, or another start does."""
        values = {"job_id": job_id, "number": number, "pod": start, "alive_until": alive_until}
        return await self._database.write(lambda tx: tx.change(CLAIM_ONCE, values)) == 1

    async def alive(self, job_id: str, number: int, start: str, alive_until: int) -> bool:
        """Record a sign of life of an agent.

        False if its attempt is unwanted, or it does not speak for it.
        """
        values = {"job_id": job_id, "number": number, "pod": start, "alive_until": alive_until}
        return await self._database.write(lambda tx: tx.change(ALIVE, values)) == 1

    async def report(self, job_id: str, number: int, pod: str, report: Report) -> bool:
        """Record an agent's report.

        Returns False if it no longer speaks for the attempt, or that is unwanted.
        """
        values = {
            "job_id": job_id,
            "number": number,
            "pod": pod,
            "report": report_text(report),
            "cpu": report.cpu,
            "peak_memory": report.peak_memory,
        }

        def operation(tx: Transaction) -> bool:
            if tx.change(REPORT, values) != 1:
                return False
            rows = tx.rows(queries.GLANCE, {"id": job_id})
            if rows:
                glance = glance_of(rows[0])
                event = (job_id, EventKind.REPORT, glance.phase, glance.version)
                self._history.append(tx, *event, application=glance.application, owner=glance.owner, actor="agent")
            return True

        return await self._database.write(operation)

    async def late_usage(self, job_id: str, number: int, pod: str, cpu: float, peak_memory: int) -> None:
        """Record the usage of a closed attempt, unless it is recorded already; its account gets a correction."""
        values = {"job_id": job_id, "number": number, "pod": pod, "cpu": cpu, "peak_memory": peak_memory}

        def operation(tx: Transaction) -> None:
            for (ended,) in tx.rows(LATE_USAGE, values):
                # An attempt that was closed without an end is in the month in which that was done.
                month = month_of(ended if ended is not None else now_ms())
                if records := records_of(tx, month, job_id, number):
                    right = self.meter.corrected(total(records), cpu=cpu, peak_memory=peak_memory)
                    put_record(tx, correction(records, right, now_ms()))

        await self._database.write(operation)

    async def waiting_at(self, site: str, limit: int) -> list[Attempt]:
        """Return the attempts that wait for a site, oldest first."""
        rows = await self._database.read(WAITING_AT, {"site": site, "page": limit})
        return [attempt_of(row) for row in rows]

    async def loads(self) -> dict[str, tuple[int, int]]:
        """Return numbers of attempts by site.

        Waiting, and at the site.
        """
        waiting = {row[0]: int(row[1]) for row in await self._database.read(WAITING_COUNTS, {})}
        present = {row[0]: int(row[1]) for row in await self._database.read(OPEN_COUNTS, {})}
        return {site: (waiting.get(site, 0), present.get(site, 0)) for site in waiting.keys() | present.keys()}

    async def live(self, site: str) -> list[Attempt]:
        """Return attempts at a site, unwanted ones included."""
        return [attempt_of(row) for row in await self._database.read(LIVE_ATTEMPTS, {"site": site})]

    async def at_work(self, owner: str) -> int:
        """Return the number of an owner's attempts at sites."""
        return int((await self._database.read(AT_WORK_OF_OWNER, {"owner": owner}))[0][0])

    async def outcomes(self, since: int) -> list[OutcomeCount]:
        """Return how attempts have ended since an instant."""
        return [OutcomeCount(*row) for row in await self._database.read(OUTCOMES, {"since": since})]

    async def latest(self, since: int, limit: int) -> list[tuple[str, str, str, int, int, int, int, bool]]:
        """Return what ran and ended since an instant, the latest first.

        Site, application, size class, the instants of creation, hand-over, start and end, and whether it ended well.
        """
        rows = await self._database.read(HISTORY, {"since": since, "page": limit})
        return [(*row[:7], bool(row[7])) for row in rows]

    async def waiting_ahead(self, attempt: Attempt, cap: int = 1000) -> int:
        """Return the number of attempts that wait before this one, up to ``cap``."""
        params = {"site": attempt.site, "created": attempt.created, "cap": cap}
        return int((await self._database.read(AHEAD, params))[0][0])

    async def usage(self, since: int, until: int, page: int = 1000) -> AsyncIterator[list[Attempt]]:
        """Yield closed attempts by their end, in [since, until)."""
        params: dict[str, Any] = {
            "since": since,
            "until": until,
            "last_ended": since - 1,
            "last_id": "",
            "last_number": 0,
        }
        while True:
            rows = [attempt_of(row) for row in await self._database.read(USAGE, {**params, "page": page})]
            if rows:
                yield rows
            if len(rows) < page:
                return
            last = rows[-1]
            params |= {"last_ended": last.ended, "last_id": last.job_id, "last_number": last.number}
