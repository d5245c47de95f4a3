"""Query plans: frequent statements use an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from tests import databases
from uws_service.domain.attempt import LotKey
from uws_service.domain.search import Sort
from uws_service.store import attempts, garbage, history, job_search, migrate, notifications, overview, queries, queue
from uws_service.store.database import Query
from uws_service.store.schema import SQLITE_PREFIX, is_postgresql
from uws_service.store.tables import ATTEMPT_TABLE, EVENT_TABLE, JOB_TABLE

ROWS = 20_000
PHASES = ("COMPLETED", "COMPLETED", "COMPLETED", "ERROR", "ARCHIVED", "PENDING")
LIST = {
    "application": "app",
    "owner_key": "o7",
    "page": 100,
    "after": 500,
    "last_created": 9000,
    "last_id": "job00009000",
}
SPAN = {"since": 5000, "until": 6000, "last_ended": 4999, "last_id": "", "last_number": 0, "page": 100}
JOB = "job00000100"
LOT = {"queue": "local", "lot": LotKey("", "", "o3", 0).text}
SEARCH = {"owner_key": "o7", "application": "app", "run_id": "r", "after": 5, "before": 9000, "name": "n", "text": "t",
          "site": "s", "instant": 9000, "last": JOB, "scan": 2000, "page": 50}  # fmt: skip
SHAPES: dict[str, job_search.Shape] = {
    "all": (Sort.CREATED_LAST, None, frozenset({"cursor"})),
    "the oldest": (Sort.CREATED_FIRST, None, frozenset({"cursor"})),
    "the last ended": (Sort.ENDED_LAST, None, frozenset({"cursor"})),
    "an application": (Sort.CREATED_LAST, None, frozenset({"cursor", "application"})),
    "phases": (Sort.CREATED_LAST, frozenset({"ERROR", "PENDING"}), frozenset({"cursor"})),
    "phases of an application": (Sort.CREATED_LAST, frozenset({"ERROR"}), frozenset({"cursor", "application"})),
    "a text": (Sort.CREATED_LAST, None, frozenset({"cursor", "text", "name", "site"})),
    "a run": (Sort.CREATED_LAST, None, frozenset({"cursor", "run_id"})),
    "a span": (Sort.CREATED_FIRST, None, frozenset({"after", "before"})),
}
HOT: dict[str, tuple[Query, dict[str, Any]]] = {
    "GLANCE": (queries.GLANCE, {"id": JOB}),
    "GET_JOB": (queries.GET_JOB, {"id": JOB}),
    "DELETE_JOB": (queries.DELETE_JOB, {"key": JOB, "expected": 1}),
    "BY_IDEMPOTENCY": (queries.BY_IDEMPOTENCY, {**LIST, "key": "k100"}),
    "list": (queries.list_jobs(None, False, False), LIST),
    "list, next page": (queries.list_jobs(None, False, True), LIST),
    "list AFTER": (queries.list_jobs(None, True, True), LIST),
    "list of one phase": (queries.list_jobs(frozenset({"PENDING"}), False, False), LIST),
    "list of phases": (queries.list_jobs(frozenset({"PENDING", "ERROR"}), True, True), LIST),
    **{
        f"{what} of {name}": (statement(shape), SEARCH)
        for name, shape in SHAPES.items()
        for what, statement in (("rows", job_search.rows_query), ("end", job_search.end_query))
    },
    "next_due": (notifications._IS_DUE, {}),
    "ATTEMPTS": (attempts.ATTEMPTS, {"job_id": JOB}),
    "LIVE_ATTEMPTS": (attempts.LIVE_ATTEMPTS, {"site": "local"}),
    "LOTS": (queue.LOTS, {"queue": "local", "now": 10**6}),
    "OLDEST_OF_LOT": (queue.OLDEST_OF_LOT, {**LOT, "now": 10**6, "before": 10**6, "page": 4}),
    "WISH of a lot": (queue.WISH, LOT),
    "AHEAD": (attempts.AHEAD, {"site": "local", "created": 10**6, "cap": 100}),
    "UNWANT": (attempts.UNWANT, {"key": JOB}),
    "EVENTS": (history.EVENTS, {"job_id": JOB}),
    "LAST_EVENT": (history.LAST_EVENT, {}),
    "FIRST_EVENT": (history.FIRST_EVENT, {}),
    "EVENTS_OF_JOB": (history.EVENTS_OF_JOB, {"job_id": JOB, "since": 5, "page": 100}),
    "EVENTS_OF_OWNER": (history.EVENTS_OF_OWNER, {"owner_key": "o7", "since": 5, "final": ROWS, "page": 100}),
    "FINISHED": (overview.FINISHED, LIST),
    "standings": (overview.standings(False), LIST),
    "standings of an application": (overview.standings(True), LIST),
    "INFOS": (overview.INFOS, {f"id{number}": JOB for number in range(overview.PROGRESS_JOBS)}),
    "EVENTS_SINCE": (history.EVENTS_SINCE, {"since": ROWS - 5, "page": 1000}),
    "EVENTS_BETWEEN": (history.EVENTS_BETWEEN, {"first": ROWS - 9, "final": ROWS - 5}),
    "TRIM_EVENTS": (history.TRIM_EVENTS, {"before": 5}),
    "DUE": (queries.DUE, {"now": 5, "page": 100}),
    "GARBAGE": (garbage.GARBAGE, {"page": 100}),
    "REFERENCED": (garbage.REFERENCED, {"id": JOB}),
    "USAGE": (attempts.USAGE, SPAN),
    "OUTCOMES": (attempts.OUTCOMES, {"since": ROWS - 50}),
}
BIG = {"job", "attempt", "event"}


def rows() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the rows of a long-used service."""
    for number in range(ROWS):
        job_id, owner = f"job{number:08}", f"o{number % 50}"
        phase = PHASES[number % len(PHASES)] if number % 50 != 7 else PHASES[number // 50 % len(PHASES)]
        filled = {"parameters": "[]", "results": "[]", "info": "{}", "version": 1, "duration": 60, "listed": True}
        yield (
            JOB_TABLE,
            {"id": job_id, "application": "app", "owner": owner, "owner_key": owner, "phase": phase, "created": number,
             "ended": number, "destruction": 10**6 + number, "idempotency_key": f"k{number}", **filled},
        )  # fmt: skip
        state = "WAITING" if number % 400 == 0 else "RUNNING" if number % 401 == 0 else "CLOSED"
        zeros = dict.fromkeys(("cpu_requested", "memory_requested", "wall", "cpu", "peak_memory"), 0)
        yield (
            ATTEMPT_TABLE,
            {"job_id": job_id, "number": 1, "site": "local", "application": "app", "owner": owner, "group": "",
             "lot": LotKey("", "", owner, 0).text, "network": False,
             "wanted": True, "state": state, "created": number, "ended": number if state == "CLOSED" else None,
             "not_before": 0, "message": "", "bytes_in": 0, "bytes_out": 0, "claimed": "", **zeros},
        )  # fmt: skip
        yield (
            EVENT_TABLE,
            {"job_id": job_id, "at": number, "kind": "CREATED", "phase": "PENDING", "version": 1, "actor": "me",
             "origin": "", "application": "app", "owner_key": owner},
        )  # fmt: skip


def fill(execute: Any, mark: str) -> None:
    """Insert all rows, table by table."""
    tables: dict[Any, list[dict[str, Any]]] = {}
    for table, values in rows():
        tables.setdefault(table, []).append(values)
    for table, rows_of_table in tables.items():
        names = list(rows_of_table[0])
        columns = ", ".join(f'"{name}"' for name in names)
        statement = f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join([mark] * len(names))})"
        execute(statement, [tuple(values.values()) for values in rows_of_table])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        url = databases.new_sqlite(tmp_path_factory.mktemp("plans"))
        migrate(url)
        connection = sqlite3.connect(url.removeprefix(SQLITE_PREFIX))
        fill(connection.executemany, "?")
        connection.commit()
        connection.close()
        return url
    url = databases.new_postgresql()
    migrate(url)
    with psycopg.connect(url) as post:
        fill(post.cursor().executemany, "%s")
    with psycopg.connect(url, autocommit=True) as post:
        post.execute("VACUUM ANALYZE")
    return url


def plans(url: str, query: Query, params: dict[str, Any]) -> list[str]:
    """Return the plans for these values and for any values."""
    values = {**query.defaults, **params}
    if not is_postgresql(url):
        lite = sqlite3.connect(url.removeprefix(SQLITE_PREFIX))
        steps = lite.execute(f"EXPLAIN QUERY PLAN {query.sqlite}", values).fetchall()
        lite.close()
        return ["\n".join(str(step[3]) for step in steps)]
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query.postgresql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", query.postgresql)
    with psycopg.connect(url) as post, psycopg.ClientCursor(post) as cursor:
        cursor.execute(f"EXPLAIN {query.postgresql}", values)
        custom = cursor.fetchall()
        cursor.execute(f"EXPLAIN (GENERIC_PLAN) {numbered}")
        return ["\n".join(row[0] for row in steps) for steps in (custom, cursor.fetchall())]


def scans(plan: str) -> set[str]:
    """Return the tables that a plan scans."""
    full = re.findall(r"^(?:SCAN (\w+)$|.*Seq Scan on (\w+))", plan, re.MULTILINE)
    return {scanned or read for scanned, read in full} & BIG


@pytest.mark.parametrize("name", HOT)
def test_no_full_scan(filled: str, name: str) -> None:
    """No plan scans a table that grows."""
    for plan in plans(filled, *HOT[name]):
        assert not scans(plan), plan


@pytest.mark.parametrize("name", ["list", "list, next page", "list AFTER", "list of one phase", "list of phases"])
def test_lists_are_not_sorted(filled: str, name: str) -> None:
    """Pages are read in the index's order."""
    plan = plans(filled, *HOT[name])[0]
    # The parts of a list of several phases, each of at most a page, are sorted together.
    united = name == "list of phases"
    if is_postgresql(filled):
        assert len(re.findall(r"(?<!Incremental )\bSort  ", plan)) <= united, plan
    else:
        assert not re.search(r"SEARCH job .*\n.*TEMP B-TREE", plan), plan
        assert united or "TEMP B-TREE" not in plan, plan


def test_this_would_be_seen(filled: str) -> None:
    """Scans are recognised."""
    unindexed = Query(select(history.event.seq).where(history.event.actor == "x"))
    assert all(scans(plan) == {"event"} for plan in plans(filled, unindexed, {}))
