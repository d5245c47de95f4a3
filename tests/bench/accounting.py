"""What a record costs at a job's end, and how long a month's summary takes over many records.

``UWS_BENCH_RECORDS`` says over how many (default 1,000,000).
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import func, select

from tests import databases
from tests.accounting.histories import METER, OUTSIDE, SEPTEMBER
from tests.bench.__main__ import Figure
from tests.store import samples
from uws_service.accounting.publisher import Publisher
from uws_service.domain.attempt import Attempt, AttemptState, Usage
from uws_service.domain.ids import now_ms
from uws_service.domain.meter import Meter
from uws_service.store import Store, ends, migrate
from uws_service.store.attempts import HALF_LIFE_MS
from uws_service.store.database import Joint, Params, Query, Row, Transaction
from uws_service.store.postgresql import PostgreSQL
from uws_service.store.queue import ADD_USE, StoredUse, use_values
from uws_service.store.usage import INSERT_RECORD, record_values

ATTEMPTS = 500
WARM = 100
"""Ends before what is measured: statements are prepared, pages are read."""
ROUNDS = 5
MONTH = 202409
MIB = 2**20
BACKEND = Query(select(func.pg_backend_pid()))
ROW = """
INSERT INTO usage_record (month, job_id, number, serial, recorded, site, kind, application, project, "group", owner,
    created, submitted, started, ended, reason, waste, cores, processors, memory, gpus, wall_ms, cpu_ms, gpu_ms,
    core_ms, memory_mib_s, wall_s, cpu_s, peak_memory, bytes_in, bytes_out, bytes_moved, energy_mwh, co2e_ug, method,
    benchmark, benchmark_value, price, currency)
SELECT {month}, 'job' || lpad(n::text, 12, '0'), 1, 0, {start} + n, 'north', 'kubernetes', 'app' || n % 5, 'SKA',
    '/ska/g' || n % 20 || '@iam.example.org', 'user' || n % 1000 || '@iam.example.org', {start}, {start}, {start},
    {start} + n * 2400 % 2500000000, '', '', 1 + n % 8, 1 + n % 8, 4294967296, 0, 3600000 + n % 1000, 1800000, 0,
    3600000, 14745600, 3600, 1800, 1073741824, 1000000, 1000000, 0, 10000, 2500, 'm', 'hepscore23', 12.3, 20000, 'EUR'
FROM generate_series({first}::bigint, {last}::bigint) AS n
"""


async def measure(folder: Path) -> list[Figure]:
    """Measure both, on both databases."""
    figures = []
    for name, url in (("SQLite", databases.new_sqlite(folder)), ("PostgreSQL", databases.new_postgresql())):
        migrate(url)
        store = await Store.open(url)
        store.attempts.meter = METER
        try:
            figures += await _record(store, name)
            if name == "PostgreSQL":
                figures += await _summary(store, url, folder)
        finally:
            await store.close()
    return figures


class Cost(NamedTuple):
    """What the end of an attempt costs: milliseconds of this process, of the server, of the clock; statements."""

    client: float
    server: float
    wall: float
    statements: float


End = Callable[[Transaction, Attempt], object]


async def _record(store: Store, name: str) -> list[Figure]:
    """Compare ends of attempts with and without records, in turns, in long transactions: commits are the same.

    A third way sends each statement by itself, as it would be done without `Joint`.
    """

    def with_record(tx: Transaction, attempt: Attempt) -> None:
        store.attempts.put(tx, attempt)

    ways: dict[str, End] = {"with": with_record, "without": _end_without, "apart": partial(_end_apart, METER)}
    costs: dict[str, list[Cost]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        for way, end in ways.items():
            costs[way].append(await _ends(store, f"{way}{number}", end))
    medians = {way: Cost(*map(statistics.median, zip(*rounds, strict=True))) for way, rounds in costs.items()}
    whole, bare, apart = medians["with"], medians["without"], medians["apart"]
    processor = (whole.client + whole.server) - (bare.client + bare.server)
    description = (
        f"processor time of client and server; the whole end takes {whole.client:.3f} + {whole.server:.3f} ms and "
        f"{whole.statements:g} statements, without its record {bare.client:.3f} + {bare.server:.3f} ms and "
        f"{bare.statements:g}, with statements apart {apart.client:.3f} + {apart.server:.3f} ms and "
        f"{apart.statements:g}; no commit; medians of {ROUNDS} rounds in turns"
    )
    load = os.getloadavg()[0]
    clock = f"{whole.wall:.3f} ms with it, {bare.wall:.3f} without, {apart.wall:.3f} apart; load {load:.1f}"
    return [
        Figure.most(f"a record at an attempt's end, {name}", processor, 0.1, description, "ms"),
        Figure.plain(f"the same by the clock, {name}", whole.wall - bare.wall, clock, "ms"),
    ]


def _values(closed: Attempt) -> dict[str, Any]:
    use = StoredUse(closed.group, closed.owner, closed.usage.wall * closed.cpu_requested, closed.ended or 0)
    return ends.upsert_values(closed) | use_values(use, HALF_LIFE_MS)


WITHOUT = Joint(ADD_USE, ends.UPSERT_ATTEMPT)


def _end_without(tx: Transaction, closed: Attempt) -> None:
    """End an attempt as `store.ends` does, but for the record."""
    tx.rows(ends.BEFORE, {"job_id": closed.job_id, "number": closed.number})
    tx.together(WITHOUT, _values(closed))


def _end_apart(meter: Meter, tx: Transaction, closed: Attempt) -> None:
    """End an attempt with its record, each statement by itself."""
    tx.rows(ends.BEFORE, {"job_id": closed.job_id, "number": closed.number})
    values = _values(closed) | record_values(meter.record(closed, now_ms()))
    for query in (ADD_USE, INSERT_RECORD, ends.UPSERT_ATTEMPT):
        tx.change(query, {name: values[name] for name in _names(query)})


@cache
def _names(query: Query) -> tuple[str, ...]:
    """Return the names of a statement's parameters."""
    return Joint(query).postgresql[1]


class Counted:
    """A transaction that counts its statements as the database gets them."""

    def __init__(self, tx: Transaction, name: str) -> None:
        self.tx = tx
        self.name = name
        self.statements = 0

    def rows(self, query: Query, params: Params) -> Sequence[Row]:
        """Run a statement."""
        self.statements += 1
        return self.tx.rows(query, params)

    def change(self, query: Query, params: Params) -> int:
        """Run a statement."""
        self.statements += 1
        return self.tx.change(query, params)

    def together(self, joint: Joint, params: Params) -> None:
        """Run changes at once."""
        self.statements += len(joint.sqlite) if self.name == "SQLite" else 1
        self.tx.together(joint, params)


async def _ends(store: Store, prefix: str, end: End) -> Cost:
    """Return what the end of an attempt costs."""
    running = [_attempt(f"{prefix}-{index}") for index in range(ATTEMPTS)]
    for attempt in running:
        await store.attempts.save(attempt)
    outcome: dict[str, Any] = {"state": AttemptState.CLOSED, "wanted": False, "ended": SEPTEMBER + 3_600_000}
    # Numbers of all sizes, as real attempts have them.
    closed = [
        replace(attempt, **outcome, usage=Usage(10.0 ** (index % 5), index / 7, 10 ** (index % 11), 10 ** (index % 13)))
        for index, attempt in enumerate(running)
    ]
    is_postgresql = isinstance(store._database, PostgreSQL)

    def operation(tx: Transaction) -> Cost:
        backend = int(tx.rows(BACKEND, {})[0][0]) if is_postgresql else 0
        counted = Counted(tx, "PostgreSQL" if is_postgresql else "SQLite")
        for attempt in closed[:WARM]:
            end(counted, attempt)
        counted.statements = 0
        began = time.thread_time(), _processor_ms(backend), time.perf_counter()
        for attempt in closed[WARM:]:
            end(counted, attempt)
        passed = time.thread_time() - began[0], time.perf_counter() - began[2]
        count = len(closed) - WARM
        server = (_processor_ms(backend) - began[1]) / count
        return Cost(passed[0] * 1000 / count, server, passed[1] * 1000 / count, counted.statements / count)

    return await store._database.write(operation)


def _processor_ms(pid: int) -> float:
    """Return the processor time that a process of the server has had; 0 for none."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6 if pid else 0.0


def _attempt(job_id: str) -> Attempt:
    return replace(
        samples.attempt(job_id), state=AttemptState.RUNNING, site="north", owner=f"{job_id}@iam", group="/ska@iam",
        started=SEPTEMBER, cpu_requested=2.0, memory_requested=2**32,
    )  # fmt: skip


async def _summary(store: Store, url: str, folder: Path) -> list[Figure]:
    """Publish a month of many records."""
    count = int(os.environ.get("UWS_BENCH_RECORDS", "1000000"))
    await store.usage.prepare_partitions(MONTH, 1)
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(0, count, 500_000):
            last = min(first + 500_000, count) - 1
            connection.execute(ROW.format(month=MONTH, start=SEPTEMBER, first=first, last=last))
        connection.execute("VACUUM ANALYZE usage_record")
    publisher = Publisher(store, OUTSIDE, lambda: SEPTEMBER + 40 * 86_400_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    published = await publisher.publish("apel-summary", MONTH, folder / "outgoing")
    seconds = time.perf_counter() - began
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert published.records == (await store.usage.state(MONTH)).records >= count
    limit = 20 * count / 10_000_000
    description = f"{count:,} records to {len(published.names)} messages; the target is 20 s for 10 million"
    return [
        Figure.most("a month's summary, PostgreSQL", seconds, max(limit, 2.0), description, "s"),
        Figure.plain("memory of the service for it", growth, "growth of the highest resident set", "MiB"),
    ]
