"""Pages of an owner's jobs over all applications, flat at a million jobs.

A page walks an index in its order from where the page before has ended. What no index finds is looked for among the
next `SCAN_JOBS` jobs of that walk alone: such a page may be short, or empty, and says where the next one begins.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sqlalchemy import Text, and_, bindparam, cast, func, literal_column, or_, select, true

from uws_service.domain.job import Phase
from uws_service.domain.search import Cursor, Page, Row, Search, Sort
from uws_service.store.database import Database, Query
from uws_service.store.tables import JOB_TABLE

p = bindparam
job: Any = JOB_TABLE.c
SCAN_JOBS = 2000
"""Jobs that one page looks at."""
_COLUMNS = [
    job[name]
    for name in ("id", "application", "phase", "run_id", "created", "started", "ended", "destruction", "stored", "info")
]
Shape = tuple[Sort, frozenset[str] | None, frozenset[str]]
"""Order, phases, and the names of the filters that are there."""


def _walk(shape: Shape, phase: str | None, terms: list[Any]) -> Any:
    """Return the walk along one index.

    Keys in order, some of them.
    """
    sort, _, names = shape
    key = job[sort.column]
    terms = [job.owner_key == p("owner_key"), job.listed.is_(True), *terms]
    if phase is not None:
        terms.append(job.phase == literal_column(f"'{phase}'"))
    if sort.column == "ended":
        terms.append(job.ended.is_not(None))
    if "cursor" in names:
        beyond, tied = (
            (key < p("instant"), job.id < p("last")) if sort.is_descending else (key > p("instant"), job.id > p("last"))
        )
        bound = key <= p("instant") if sort.is_descending else key >= p("instant")
        terms += [bound, or_(beyond, and_(key == p("instant"), tied))]
    order = (key.desc(), job.id.desc()) if sort.is_descending else (key, job.id)
    return select(job.id, key.label("key")).where(*terms).order_by(*order).limit(p("scan", required=True))


def _united(shape: Shape) -> Any:
    """Return the keys that a page looks at, in order."""
    sort, phases, names = shape
    terms: list[Any] = []
    is_walked = sort.column == "created" and "run_id" not in names
    if is_walked and "application" in names:
        terms.append(job.application == p("application"))
    if "run_id" in names:
        terms.append(job.run_id == p("run_id"))
    if "after" in names:
        terms.append(job.created > p("after"))
    if "before" in names:
        terms.append(job.created < p("before"))
    if phases is None or not is_walked:
        return _walk(shape, None, terms).subquery("walk")
    parts = [select(_walk(shape, phase, terms).subquery()) for phase in sorted(phases)]
    union = parts[0].union_all(*parts[1:]).subquery()
    order = (union.c.key.desc(), union.c.id.desc()) if sort.is_descending else (union.c.key, union.c.id)
    return select(union).order_by(*order).limit(p("scan", required=True)).subquery("walk")


def _rest(shape: Shape, find: Any) -> list[Any]:
    """Return the filters that no index serves.

    ``find`` is the database's place of a text in another.
    """
    sort, phases, names = shape
    is_walked = sort.column == "created" and "run_id" not in names
    terms: list[Any] = []
    if phases is None:
        terms.append(job.phase != literal_column("'ARCHIVED'"))
    elif not is_walked:
        terms.append(or_(*(job.phase == literal_column(f"'{phase}'") for phase in sorted(phases))))
    if "application" in names and not is_walked:
        terms.append(job.application == p("application"))
    if "name" in names:
        terms.append(find(func.lower(job.run_id), cast(p("name"), Text)) > literal_column("0"))
    if "text" in names:
        terms.append(find(func.lower(job.parameters), cast(p("text"), Text)) > literal_column("0"))
    if "site" in names:
        terms.append(find(job.info, cast(p("site"), Text)) > literal_column("0"))
    return terms


@lru_cache(256)
def rows_query(shape: Shape) -> Query:
    """Return the statement for the jobs of a page."""

    sort = shape[0]

    def ordered(selected: Any, columns: Any) -> Any:
        key = columns[sort.column]
        order = (key.desc(), columns.id.desc()) if sort.is_descending else (key, columns.id)
        return selected.order_by(*order).limit(p("page", required=True))

    walk = _united(shape)
    plain = select(*_COLUMNS).join_from(walk, JOB_TABLE, job.id == walk.c.id).where(*_rest(shape, func.instr))
    # PostgreSQL may read the whole table rather than look at some jobs; a lateral query leaves it no choice.
    walk = _united(shape)
    looked_up = select(*_COLUMNS).where(job.id == walk.c.id, *_rest(shape, func.strpos))
    job_lookup = looked_up.offset(literal_column("0")).lateral("each_job")
    lateral = select(*job_lookup.c).select_from(walk.join(job_lookup, true()))
    return Query(ordered(plain, job), ordered(lateral, job_lookup.c))


@lru_cache(256)
def end_query(shape: Shape) -> Query:
    """Return the statement for number, and last key, of the jobs that a page has looked at."""
    walk = _united(shape)
    order = (walk.c.key, walk.c.id) if shape[0].is_descending else (walk.c.key.desc(), walk.c.id.desc())
    count = select(func.count()).select_from(walk).scalar_subquery()
    return Query(select(walk.c.key, walk.c.id, count).order_by(*order).limit(literal_column("1")))


class JobSearch:
    """Finds jobs of one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, owner_key: str, search: Search, cursor: Cursor | None, limit: int) -> Page:
        """Return a page of at most ``limit`` jobs."""
        values: dict[str, Any] = {
            "owner_key": owner_key,
            "page": limit,
            "scan": SCAN_JOBS if search.has_rest else limit,
        }
        filters = {
            "application": search.application,
            "run_id": search.run_id,
            "after": search.after,
            "before": search.before,
            "name": search.name.lower() or None,
            "text": json.dumps(search.text)[1:-1].lower() or None,
            "site": f'"site":{json.dumps(search.site)}' if search.site else None,
        }
        values |= {name: value for name, value in filters.items() if value is not None}
        names = {name for name, value in filters.items() if value is not None}
        if cursor is not None:
            values |= {"instant": cursor.instant, "last": cursor.job_id}
            names.add("cursor")
        phases = None if search.phases is None else frozenset(phase.value for phase in search.phases)
        shape: Shape = (search.sort, phases, frozenset(names))
        rows = [_row(row) for row in await self._database.read(rows_query(shape), values)]
        if len(rows) == limit:
            last = rows[-1]
            instant = last.created if search.sort.column == "created" else last.ended
            assert instant is not None
            return Page(rows, Cursor(instant, last.id))
        ends = await self._database.read(end_query(shape), {name: values[name] for name in values if name != "page"})
        is_whole = not ends or int(ends[0][2]) < values["scan"]
        return Page(rows, None if is_whole else Cursor(int(ends[0][0]), ends[0][1]))


def _row(row: tuple[Any, ...]) -> Row:
    info = json.loads(row[9])
    columns: list[Any] = [row[0], row[1], Phase(row[2]), *row[3:9]]
    return Row._make([*columns, info.get("progress"), info.get("message") or "", info.get("site") or ""])
