"""Statements about jobs, made once for both databases."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Text,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from uws_service.store.database import Query
from uws_service.store.rows import JOB_COLUMNS
from uws_service.store.tables import JOB_TABLE

job: Any = JOB_TABLE.c

_COLUMNS = [job[name] for name in JOB_COLUMNS]
_REF = [job.id, job.phase, job.run_id, job.owner, job.created]

p = bindparam

GLANCE = Query(select(job.version, job.application, job.owner, job.phase).where(job.id == p("id")))
_KEYS = bindparam("keys", type_=ARRAY(Text))
GLANCES = Query(select(job.id, job.version, job.application, job.owner, job.phase).where(job.id == any_(_KEYS)))
"""The same for many ids (PostgreSQL)."""
LARGE_BYTES = 2 * 1024 * 1024
"""A job with more of parameters and files is read in two steps: its row may have tens of MiB."""
_PARAMETERS = case((job.stored <= literal_column(str(LARGE_BYTES)), job.parameters), else_=None).label("parameters")
_SMALL = [_PARAMETERS if column.name == "parameters" else column for column in _COLUMNS]
GET_WHOLE_JOB = Query(select(*_COLUMNS).where(job.id == p("id")))
GET_JOB = Query(select(*_SMALL).where(job.id == p("id")))
"""The same, without the parameters of a large job: SQLite reads it on the event loop."""
INSERT_JOB = Query(
    insert(JOB_TABLE).values(
        {name: p(name) for name in (*JOB_COLUMNS, "owner_key", "idempotency_key", "fingerprint", "stored")}
    )
)
_CHANGED = [name for name in JOB_COLUMNS if name not in ("id", "application", "owner", "created", "listed", "version")]
UPDATE_JOB = Query(
    update(JOB_TABLE)
    .where(job.id == p("key"), job.version == p("expected"))
    .values({**{name: p(name) for name in (*_CHANGED, "stored")}, "version": p("version")})
)
UPDATE_BESIDE_PARAMETERS = Query(
    update(JOB_TABLE)
    .where(job.id == p("key"), job.version == p("expected"))
    .values(
        {
            **{name: p(name) for name in _CHANGED if name != "parameters"},
            "version": p("version"),
            "stored": job.stored + p("more"),
        }
    )
)
DELETE_JOB = Query(delete(JOB_TABLE).where(job.id == p("key"), job.version == p("expected")))
BY_IDEMPOTENCY = Query(
    select(job.id, job.fingerprint).where(
        job.application == p("application"), job.owner_key == p("owner_key"), job.idempotency_key == p("key")
    )
)


@lru_cache(256)
def list_jobs(phases: frozenset[str] | None, after: bool, before: bool, run: bool = False) -> Query:
    """Return the statement for a page of a list, newest first.

    The page begins below ``last_created``/``last_id``. One statement for each phase, united, so that each part walks an
    index in order and stops early.
    """

    def part(phase: str | None) -> Any:
        terms = [job.application == p("application"), job.listed.is_(True), job.owner_key == p("owner_key")]
        terms.append(job.phase == literal_column(f"'{phase}'") if phase else job.phase != literal_column("'ARCHIVED'"))
        if after:
            terms.append(job.created > p("after"))
        if run:
            terms.append(job.run_id == p("run_id"))
        if before:
            older = and_(job.created == p("last_created"), job.id < p("last_id"))
            terms.append(and_(job.created <= p("last_created"), or_(job.created < p("last_created"), older)))
        return select(*_REF).where(*terms).order_by(job.created.desc(), job.id.desc()).limit(p("page", required=True))

    if phases is None:
        return Query(part(None))
    if len(phases) == 1:
        return Query(part(next(iter(phases))))
    united = select(part(sorted(phases)[0]).subquery())
    others = [select(part(phase).subquery()) for phase in sorted(phases)[1:]]
    union = united.union_all(*others).subquery()
    return Query(select(union).order_by(union.c.created.desc(), union.c.id.desc()).limit(p("page", required=True)))


DUE = Query(
    select(*_COLUMNS)
    .where(job.destruction.is_not(None), job.phase != literal_column("'ARCHIVED'"), job.destruction <= p("now"))
    .order_by(job.destruction)
    .limit(p("page", required=True))
)


COUNTS = Query(select(job.application, job.phase, func.count()).group_by(job.application, job.phase))
PING = Query(select(literal_column("1")))
