"""What was used is the same wherever one looks: records, messages, lines of accounts.

Random histories of jobs on both databases, with lost attempts, ends that are recorded twice and usage that comes late.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy import text

from tests import databases
from tests.accounting import apel_reader
from tests.accounting.histories import METER, OUTSIDE, SEPTEMBER, SPAN_MS, End, build, histories
from uws_service.accounting.lines import lines_of
from uws_service.accounting.publisher import Publisher, attempts_of
from uws_service.domain.accounting import KEYS, summed
from uws_service.domain.attempt import AttemptState
from uws_service.domain.usage_record import UsageRecord, month_of, total
from uws_service.store import Store
from uws_service.store.database import Query
from uws_service.store.schema import is_postgresql, migrate

Message = tuple[str, list[dict[str, str]]]
MONTHS = (202409, 202410)
NOW = SEPTEMBER + SPAN_MS + 1000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a database that each example empties."""
    url = databases.new_sqlite(tmp_path_factory.mktemp("sums"))
    url = databases.new_postgresql() if request.param == "postgresql" else url
    migrate(url)
    return url


def clear(url: str) -> None:
    """Delete all attempts and accounts."""
    import sqlite3

    import psycopg

    statements = [f"DELETE FROM {table}" for table in ("attempt", "usage_record", "publication", "fair_use")]
    if is_postgresql(url):
        with psycopg.connect(url) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    with sqlite3.connect(url.removeprefix("sqlite:///")) as lite:
        for statement in statements:
            lite.execute(statement)
    lite.close()


async def live(store: Store, ends: Sequence[End]) -> None:
    """Let attempts begin and end as their history says."""
    from dataclasses import replace

    store.attempts.meter = METER
    for end in ends:
        before = replace(end.attempt, state=AttemptState.RUNNING, wanted=True, ended=None, reason=None)
        await store.attempts.save(before)
        assert await store.attempts.claim(before.job_id, before.number, "pod")
        await store.attempts.save(end.attempt)
        if end.ended_twice:  # another process records the same end
            await store.attempts.save(end.attempt)
        if end.late is not None:
            for _ in range(2):  # the agent sends it again
                await store.attempts.late_usage(before.job_id, before.number, "pod", *end.late)


async def all_records(store: Store) -> list[UsageRecord]:
    return [
        record for month in await store.usage.months() async for page in store.usage.month(month, 3) for record in page
    ]


async def check(url: str, ends: Sequence[End], folder: Path, spoil: str = "") -> None:
    """Compare everything that is made of one history.

    ``spoil`` is a statement that does wrong to what is stored.
    """
    store = await Store.open(url)
    try:
        await live(store, ends)
        if spoil:
            await store._database.write(lambda tx: tx.change(Query(text(spoil)), {}))
        records = await all_records(store)
        # Each attempt has its record, once.
        firsts = Counter(record.id for record in records if record.serial == 0)
        assert firsts == Counter(f"{end.attempt.job_id}-{end.attempt.number}" for end in ends)
        assert all(record.month == month_of(record.ended) for record in records)
        check_attempts(ends, records)
        for by in (list(KEYS), ["month"], ["owner", "group", "waste"]):
            lines = summed(records, by)
            stored = {line.key: line for line in await lines_of(store.usage, by, (SEPTEMBER, SEPTEMBER + SPAN_MS))}
            assert stored == lines, by
        publisher = Publisher(store, OUTSIDE, lambda: NOW)
        for month in MONTHS:
            await check_month(publisher, month, records, folder)
    finally:
        await store.close()


def check_attempts(ends: Sequence[End], records: Sequence[UsageRecord]) -> None:
    """Compare what the records of each attempt come to with what happened to it."""
    parts: dict[str, list[UsageRecord]] = {}
    for record in records:
        parts.setdefault(record.id, []).append(record)
    for end in ends:
        attempt = end.attempt
        right = total(parts[f"{attempt.job_id}-{attempt.number}"])
        cpu, memory = end.late or (attempt.usage.cpu, attempt.usage.peak_memory)
        assert (right.ended, right.owner, right.group) == (attempt.ended, attempt.owner, attempt.group)
        assert (right.wall_ms, right.cpu_ms) == (round(attempt.usage.wall * 1000), round(cpu * 1000))
        assert (right.peak_memory, right.bytes_in) == (memory, attempt.usage.bytes_in)


async def check_month(publisher: Publisher, month: int, records: Sequence[UsageRecord], folder: Path) -> None:
    jobs = [record for record in records if record.month == month and record.is_job]
    expected = (
        sum(record.serial == 0 for record in jobs),
        sum(record.wall_s for record in jobs),
        sum(record.cpu_s for record in jobs),
    )
    individual = await published(publisher, "apel-individual", month, folder)
    rows = [row for header, rows in individual if "individual" in header for row in rows]
    assert len({row["LocalJobId"] for row in rows}) == len(rows)
    assert figures(rows) == expected
    summary = await published(publisher, "apel-summary", month, folder)
    sums = [row for header, rows in summary if "summary" in header for row in rows]
    assert figures(sums) == expected
    assert len({summary_key(row) for row in sums}) == len(sums), "a summary would replace another one (ACC-014)"
    assert normalised(sums) == pytest.approx(
        sum(record.wall_s * record.benchmark_value for record in jobs), abs=len(sums)
    )
    for form in (individual, summary):  # ACC-015
        assert sum(int(row["NumberOfJobs"]) for header, rows in form if "sync" in header for row in rows) == expected[0]
    attempts = [record async for page in attempts_of(publisher.store.usage, month) for record in page]
    for form_name in ("jsonl", "csv", "car", "parquet"):
        first = await publisher.publish(form_name, month, folder / f"{form_name}-1")
        second_copy = await publisher.publish(form_name, month, folder / f"{form_name}-2")
        assert first == second_copy
        if form_name == "jsonl":
            lines = [json.loads(line) for line in (folder / "jsonl-1" / first.names[0]).read_text().splitlines()]
            assert sum(round(line["wall"] * 1000) for line in lines) == sum(record.wall_ms for record in attempts)
            assert len(lines) == len(attempts)


async def published(
    publisher: Publisher, form: str, month: int, folder: Path
) -> list[tuple[str, list[dict[str, str]]]]:
    """Return the messages of a month as APEL reads them; twice the same bytes."""
    places = folder / f"{form}-1", folder / f"{form}-2"
    first, second_copy = [await publisher.publish(form, month, place) for place in places]  # type: ignore[arg-type]
    assert first == second_copy
    texts = [(places[0] / name).read_text(encoding="ascii") for name in first.names]
    assert texts == [(places[1] / name).read_text(encoding="ascii") for name in second_copy.names]
    return [apel_reader.read(text) for text in texts]


def figures(rows: Sequence[dict[str, str]]) -> tuple[int, int, int]:
    return (
        sum(int(row.get("NumberOfJobs", "1")) for row in rows),
        sum(int(row["WallDuration"]) for row in rows),
        sum(int(row["CpuDuration"]) for row in rows),
    )


def normalised(rows: Sequence[dict[str, str]]) -> float:
    texts = [row["NormalisedWallDuration"] for row in rows if "NormalisedWallDuration" in row]
    return sum(float(text.rpartition(" ")[2].rstrip("}")) for text in texts)


def summary_key(row: dict[str, str]) -> tuple[str | None, ...]:
    names = "Site GlobalUserName VO VOGroup VORole SubmitHost Infrastructure InfrastructureType Processors NodeCount"
    benchmark = row.get("NormalisedWallDuration", "").partition(":")[0]
    return (*(row.get(name) for name in names.split()), benchmark)


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(histories)
def test_sums_agree(empty: str, history: list[End]) -> None:
    """ACC-013…ACC-015: records, summaries and lines are the same sums; a second time gives the same bytes."""
    clear(empty)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(empty, history, Path(folder)))


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM usage_record WHERE job_id = 'job0000' AND number = 1",
        "DELETE FROM usage_record WHERE serial > 0",
        "UPDATE usage_record SET month = 202410 WHERE job_id = 'job0000' AND number = 1",
        "UPDATE usage_record SET serial = serial + 5 WHERE job_id = 'job0000' AND number = 2",
        "UPDATE usage_record SET wall_ms = wall_ms + 1 WHERE job_id = 'job0001'",
        "UPDATE usage_record SET wall_s = wall_s + 1, owner = 'mallory' WHERE job_id = 'job0001'",
    ],
)
def test_the_check_can_fail(spoil: str, tmp_path: Path) -> None:
    """A record that is missing, in another month, of another kind, or of another amount is seen."""
    url = databases.new_sqlite(tmp_path)
    migrate(url)
    late = (7.5, 2**20)
    day_ms = 86_400_000
    history = build(0, ("ada@iam.example.org", "", 1.0, day_ms, 3_600_000, 2, 0, None, True, late))
    history += build(1, ("grace@iam.example.org", "", 2.5, 2 * day_ms, 60_000, 1, 0, None, False, None))
    asyncio.run(check(url, history, tmp_path / "good"))
    clear(url)
    with pytest.raises(AssertionError):
        asyncio.run(check(url, history, tmp_path / "spoilt", spoil))
