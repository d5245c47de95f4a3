"""All statements, made once from the tables for both databases."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import and_, bindparam, case, delete, func, insert, literal_column, null, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service.store.database import Query
from uws_service.store.rows import ATTEMPT_COLUMNS, JOB_COLUMNS
from uws_service.store.tables import AttemptRow, EventRow, GarbageRow, JobRow, MetaRow, SiteRow

job: Any = JobRow.__table__.c  # type: ignore[attr-defined]
attempt: Any = AttemptRow.__table__.c  # type: ignore[attr-defined]
event: Any = EventRow.__table__.c  # type: ignore[attr-defined]
garbage: Any = GarbageRow.__table__.c  # type: ignore[attr-defined]
site: Any = SiteRow.__table__.c  # type: ignore[attr-defined]
meta: Any = MetaRow.__table__.c  # type: ignore[attr-defined]

_JOB = [job[name] for name in JOB_COLUMNS]
_ATTEMPT = [attempt[name] for name in ATTEMPT_COLUMNS]
_REF = [job.id, job.phase, job.run_id, job.owner, job.created]

p = bindparam

GLANCE = Query(select(job.version, job.application, job.owner, job.phase).where(job.id == p("id")))
GET_JOB = Query(select(*_JOB).where(job.id == p("id")))
INSERT_JOB = Query(
    insert(JobRow).values(
        {name: p(name) for name in (*JOB_COLUMNS, "owner_key", "idempotency_key", "fingerprint", "stored")}
    )
)
_CHANGED = [name for name in JOB_COLUMNS if name not in ("id", "application", "owner", "created", "listed", "version")]
UPDATE_JOB = Query(
    update(JobRow)
    .where(job.id == p("key"), job.version == p("expected"))
    .values({**{name: p(name) for name in (*_CHANGED, "stored")}, "version": p("version")})
)
DELETE_JOB = Query(delete(JobRow).where(job.id == p("key"), job.version == p("expected")))
BY_IDEMPOTENCY = Query(
    select(job.id, job.fingerprint).where(
        job.application == p("application"), job.owner_key == p("owner_key"), job.idempotency_key == p("key")
    )
)


@lru_cache(256)
def list_jobs(phases: frozenset[str] | None, after: bool, before: bool, run: bool = False) -> Query:
    """Entries of a list, newest first, from ``last_created``/``last_id`` on downwards.

    One statement for each phase, united, so that each part walks an index in order and stops early.
    """

    def part(phase: str | None) -> Any:
        where = [job.application == p("application"), job.listed.is_(True), job.owner_key == p("owner_key")]
        where.append(job.phase == literal_column(f"'{phase}'") if phase else job.phase != literal_column("'ARCHIVED'"))
        if after:
            where.append(job.created > p("after"))
        if run:
            where.append(job.run_id == p("run_id"))
        if before:
            older = and_(job.created == p("last_created"), job.id < p("last_id"))
            where.append(and_(job.created <= p("last_created"), or_(job.created < p("last_created"), older)))
        return select(*_REF).where(*where).order_by(job.created.desc(), job.id.desc()).limit(p("page", required=True))

    if phases is None:
        return Query(part(None))
    if len(phases) == 1:
        return Query(part(next(iter(phases))))
    united = select(part(sorted(phases)[0]).subquery())
    rest = [select(part(phase).subquery()) for phase in sorted(phases)[1:]]
    whole = united.union_all(*rest).subquery()
    return Query(select(whole).order_by(whole.c.created.desc(), whole.c.id.desc()).limit(p("page", required=True)))


ATTEMPTS = Query(select(*_ATTEMPT).where(attempt.job_id == p("job_id")).order_by(attempt.number))
_OPEN = and_(attempt.site == p("site"), attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")]))
_LEFT = and_(attempt.site == p("site"), attempt.wanted.is_(False), attempt.state != literal_column("'CLOSED'"))
LIVE_ATTEMPTS = Query(select(*_ATTEMPT).where(_OPEN).union(select(*_ATTEMPT).where(_LEFT)))
_WAITING = and_(attempt.site == p("site"), attempt.state == literal_column("'WAITING'"))
NEXT_OWNER = Query(
    select(attempt.owner).where(_WAITING, attempt.owner > p("owner")).order_by(attempt.owner).limit(p("one", 1))
)
FIRST_OWNER = Query(select(attempt.owner).where(_WAITING).order_by(attempt.owner).limit(p("one", 1)))
OPEN_BY_OWNER = Query(
    select(attempt.owner, func.count())
    .where(attempt.site == p("site"), attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")]))
    .group_by(attempt.owner)
)
_AT_WORK = attempt.state.in_([literal_column("'SUBMITTED'"), literal_column("'RUNNING'")])
AT_WORK_OF_OWNERS = Query(select(attempt.owner, func.count()).where(_AT_WORK).group_by(attempt.owner))
AT_WORK_OF_OWNER = Query(select(func.count()).where(_AT_WORK, attempt.owner == p("owner")))
# Two processes that begin attempts of one owner do so one after the other. SQLite has one writer at a time.
LOCK_OWNER = Query(
    select(literal_column("1")).where(p("owner") == p("owner")),
    select(func.pg_advisory_xact_lock(func.hashtextextended(p("owner"), literal_column("875310")))),
)
OLDEST_OF_OWNER = Query(
    select(*_ATTEMPT)
    .where(_WAITING, attempt.owner == p("owner"), attempt.wanted.is_(True), attempt.not_before <= p("now"))
    .order_by(attempt.created, attempt.job_id)
    .limit(p("free", required=True))
)
AHEAD = Query(
    select(func.count()).select_from(
        select(attempt.job_id).where(_WAITING, attempt.created < p("created")).limit(p("cap", required=True)).subquery()
    )
)
UNWANT = Query(update(AttemptRow).where(attempt.job_id == p("key")).values(wanted=literal_column("false")))


def _upsert_attempt(kind: Any) -> Any:
    """Insert or update. An attempt that is no longer wanted stays so, and a closed one stays closed (compare-and-set
    of the job guards its own row; these two rules guard attempts against a writer that read an older row)."""
    statement = kind.insert(AttemptRow).values({name: p(f"v_{name}") for name in (*ATTEMPT_COLUMNS, "launch")})
    new = statement.excluded
    closed = attempt.state == literal_column("'CLOSED'")
    told = ("claimed", "report")  # what agents write has statements of its own
    measured = ("cpu", "peak_memory")  # by agents, or by the site: who closes an attempt may not know of it yet
    names = [name for name in ATTEMPT_COLUMNS[2:] if name not in told]
    fields: dict[str, Any] = {name: case((closed, attempt[name]), else_=new[name]) for name in names}
    for name in measured:
        fields[name] = case((or_(closed, new[name] == literal_column("0")), attempt[name]), else_=new[name])
    fields["handle"] = func.coalesce(new.handle, attempt.handle)
    # A launch is written once, and goes with the attempt's end: the row outlives the job, whose parameters it holds.
    fields["launch"] = case((or_(closed, new.state == literal_column("'CLOSED'")), null()), else_=attempt.launch)
    fields["wanted"] = and_(attempt.wanted, new.wanted)
    started = and_(attempt.state == literal_column("'RUNNING'"), new.state == literal_column("'SUBMITTED'"))
    fields["state"] = case((or_(closed, started), attempt.state), else_=new.state)
    return statement.on_conflict_do_update(index_elements=["job_id", "number"], set_=fields)


_OPEN_STATE = attempt.state != literal_column("'CLOSED'")
_ONE = and_(attempt.job_id == p("job_id"), attempt.number == p("number"))
LAUNCH = Query(select(attempt.launch).where(_ONE))
# Hand a waiting attempt to its site, give it back, or to another site: only one of several writers can.
BEGIN = Query(
    update(AttemptRow)
    .where(_ONE, attempt.site == p("at"), attempt.state == literal_column("'WAITING'"), attempt.wanted.is_(True))
    .values(state=literal_column("'SUBMITTED'"), submitted=p("now"))
)
GIVE_BACK = Query(
    update(AttemptRow)
    .where(_ONE, attempt.site == p("at"), attempt.state == literal_column("'SUBMITTED'"))
    .values(state=literal_column("'WAITING'"), submitted=null(), not_before=p("not_before"))
)
MOVE = Query(
    update(AttemptRow)
    .where(_ONE, attempt.site == p("at"), attempt.state == literal_column("'WAITING'"), attempt.wanted.is_(True))
    .values(site=p("to"))
)
# The last pod to claim an attempt speaks for it; what an earlier one said is void.
CLAIM = Query(
    update(AttemptRow)
    .where(_ONE, _OPEN_STATE, attempt.wanted.is_(True))
    .values(claimed=p("pod"), report=case((attempt.claimed == p("pod"), attempt.report), else_=None))
)
REPORT = Query(
    update(AttemptRow)
    .where(_ONE, _OPEN_STATE, attempt.claimed == p("pod"))
    .values(report=p("report"), cpu=p("cpu"), peak_memory=p("peak_memory"))
)
LATE_USAGE = Query(
    update(AttemptRow)
    .where(
        _ONE,
        attempt.state == literal_column("'CLOSED'"),
        attempt.claimed == p("pod"),
        attempt.cpu == literal_column("0"),
        attempt.peak_memory == literal_column("0"),
    )
    .values(cpu=p("cpu"), peak_memory=p("peak_memory"))
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

UPSERT_ATTEMPT = Query(_upsert_attempt(sqlite), _upsert_attempt(postgresql))
_EVENT = ("job_id", "at", "kind", "phase", "version", "actor", "origin", "detail")
INSERT_EVENT = Query(insert(EventRow).values({name: p(name) for name in _EVENT}).returning(event.seq))
EVENTS = Query(
    select(event.seq, event.at, event.kind, event.phase, event.version, event.actor, event.origin, event.detail)
    .where(event.job_id == p("job_id"))
    .order_by(event.seq)
)
LAST_EVENT = Query(select(func.coalesce(func.max(event.seq), literal_column("0"))))
EVENTS_SINCE = Query(
    select(event.seq, event.job_id, event.version)
    .where(event.seq > p("since"))
    .order_by(event.seq)
    .limit(p("page", required=True))
)
EVENTS_BETWEEN = Query(
    select(event.seq, event.job_id, event.version).where(event.seq >= p("first"), event.seq <= p("final"))
)
TRIM_EVENTS = Query(delete(EventRow).where(event.at < p("before")))
NOTIFY = Query(select(func.pg_notify(p("channel"), p("payload"))))

DUE = Query(
    select(*_JOB)
    .where(job.destruction.is_not(None), job.phase != literal_column("'ARCHIVED'"), job.destruction <= p("now"))
    .order_by(job.destruction)
    .limit(p("page", required=True))
)


def _insert_garbage(kind: Any) -> Any:
    """An archived job that is deleted later may be garbage already."""
    values: dict[str, Any] = {"job_id": p("job_id"), "since": p("since")}
    return kind.insert(GarbageRow).values(values).on_conflict_do_nothing(index_elements=["job_id"])


INSERT_GARBAGE = Query(_insert_garbage(sqlite), _insert_garbage(postgresql))
GARBAGE = Query(
    select(garbage.job_id)
    .where(
        ~select(attempt.job_id)
        .where(attempt.job_id == garbage.job_id, attempt.state != literal_column("'CLOSED'"))
        .exists()
    )
    .order_by(garbage.since)
    .limit(p("page", required=True))
)
GARBAGE_DONE = Query(delete(GarbageRow).where(garbage.job_id == p("key")))
KNOWN = Query(
    select(job.id).where(job.id == p("id")).union_all(select(garbage.job_id).where(garbage.job_id == p("id")))
)
COUNTS = Query(select(job.application, job.phase, func.count()).group_by(job.application, job.phase))
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
SITES = Query(select(site.name, site.reachable, site.since, site.message, site.updated))


def _upsert_site(kind: Any) -> Any:
    statement = kind.insert(SiteRow).values(
        {name: p(f"v_{name}") for name in ("name", "reachable", "since", "message", "updated")}
    )
    new = statement.excluded
    fields = {"reachable": new.reachable, "since": new.since, "message": new.message, "updated": new.updated}
    return statement.on_conflict_do_update(index_elements=["name"], set_=fields)


UPSERT_SITE = Query(_upsert_site(sqlite), _upsert_site(postgresql))
GET_META = Query(select(meta.value).where(meta.name == p("name")))


def _insert_meta(kind: Any) -> Any:
    return kind.insert(MetaRow).values(name=p("name"), value=p("value")).on_conflict_do_nothing()


INSERT_META = Query(_insert_meta(sqlite), _insert_meta(postgresql))
PING = Query(select(literal_column("1")))
