"""The end of attempts: the account of each, in the transaction that closes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, bindparam, case, func, literal_column, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from uws_service import telemetry
from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.ids import now_ms
from uws_service.domain.meter import Extent, Meter
from uws_service.domain.usage_record import UsageRecord
from uws_service.store.budgets import settle
from uws_service.store.database import Joint, Query, Transaction
from uws_service.store.queue import ADD_USE, StoredUse, use_values
from uws_service.store.rows import ATTEMPT_COLUMNS, attempt_of, attempt_values
from uws_service.store.tables import ATTEMPT_TABLE
from uws_service.store.usage import INSERT_RECORD, put_record, record_values

p = bindparam
attempt: Any = ATTEMPT_TABLE.c
MIN_CPU = 0.1
"""Of an attempt, as it counts for fair shares: one that asks for nothing uses something too."""
AT_SITE = (AttemptState.SUBMITTED.value, AttemptState.RUNNING.value)
_KEY = and_(attempt.job_id == p("job_id"), attempt.number == p("number"))
_BEFORE = select(attempt.state, attempt.cpu, attempt.peak_memory, attempt.gpus, attempt.bytes_moved).where(_KEY)
BEFORE = Query(_BEFORE, _BEFORE.with_for_update())
# Nothing of it is at any site, and no site looks after what waits in the network.
CLOSE_WAITING = Query(
    update(ATTEMPT_TABLE)
    .where(attempt.job_id == p("key"), attempt.wanted.is_(False), attempt.state == literal_column("'WAITING'"))
    .values(
        state=literal_column("'CLOSED'"),
        ended=p("now"),
        reason=func.coalesce(attempt.reason, literal_column(f"'{Reason.ABORTED.value}'")),
        launch=null(),
        wish=null(),
    )
    .returning(*[attempt[name] for name in ATTEMPT_COLUMNS])
)


def _upsert_attempt(kind: Any) -> Any:
    """Return the upsert of an attempt.

    An unwanted attempt stays so, and a closed one stays closed: compare-and-set guards the job's row, these rules guard
    attempts against a writer that read an older row.
    """
    columns = (*ATTEMPT_COLUMNS, "launch", "wish")
    statement = kind.insert(ATTEMPT_TABLE).values({name: p(f"v_{name}") for name in columns})
    new = statement.excluded
    closed = attempt.state == literal_column("'CLOSED'")
    by_agents = ("claimed", "report", "alive_until")  # what agents write has statements of its own
    measured = ("cpu", "peak_memory")  # by agents, or by the site: who closes an attempt may not know of it yet
    names = [name for name in ATTEMPT_COLUMNS[2:] if name not in by_agents]
    fields: dict[str, Any] = {name: case((closed, attempt[name]), else_=new[name]) for name in names}
    for name in measured:
        fields[name] = case((or_(closed, new[name] == literal_column("0")), attempt[name]), else_=new[name])
    fields["handle"] = func.coalesce(new.handle, attempt.handle)
    # Both are written once, and go with the attempt's end: the row outlives the job, whose parameters they hold.
    for name in ("launch", "wish"):
        fields[name] = case((or_(closed, new.state == literal_column("'CLOSED'")), null()), else_=attempt[name])
    fields["wanted"] = and_(attempt.wanted, new.wanted)
    started = and_(attempt.state == literal_column("'RUNNING'"), new.state == literal_column("'SUBMITTED'"))
    begun = and_(
        attempt.state.in_(map(literal_column, ("'SUBMITTED'", "'RUNNING'"))), new.state == literal_column("'WAITING'")
    )
    fields["state"] = case((or_(closed, started, begun), attempt.state), else_=new.state)
    return statement.on_conflict_do_update(index_elements=["job_id", "number"], set_=fields)


UPSERT_ATTEMPT = Query(_upsert_attempt(sqlite), _upsert_attempt(postgresql))
CLOSE = Joint(INSERT_RECORD, UPSERT_ATTEMPT)
CLOSE_USED = Joint(ADD_USE, INSERT_RECORD, UPSERT_ATTEMPT)


def upsert_values(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as parameters of its upsert."""
    return {f"v_{name}": value for name, value in attempt_values(attempt).items()}


def close_attempt(tx: Transaction, closed: Attempt, meter: Meter, half_life_ms: float) -> Iterable[UsageRecord]:
    """Close an attempt, and record what it has used, within the transaction.

    Nothing is recorded if it was closed before: an attempt has one record, whoever closes it and however often.
    """
    values = upsert_values(closed)
    rows = tx.rows(BEFORE, {"job_id": closed.job_id, "number": closed.number})
    state, cpu, peak_memory, gpus, moved = rows[0] if rows else ("", 0.0, 0, closed.gpus, closed.bytes_moved)
    if state == AttemptState.CLOSED.value:
        tx.change(UPSERT_ATTEMPT, values)
        return ()
    usage = closed.usage
    # What agents measured counts, as where the attempt is stored.
    moved = max(moved, closed.bytes_moved)
    extent = Extent(usage.cpu or cpu, usage.peak_memory or peak_memory, gpus, moved)
    record = meter.record(closed, now_ms(), extent)
    values |= record_values(record)
    if state in AT_SITE and closed.ended is not None:
        amount = usage.wall * max(closed.cpu_requested, MIN_CPU)
        use = StoredUse(closed.group, closed.owner, amount, closed.ended)
        tx.together(CLOSE_USED, values | use_values(use, half_life_ms))
    else:
        tx.together(CLOSE, values)
    _count(record)
    return (record,)


def _count(record: UsageRecord) -> None:
    """Count energy and CO2e in the metrics."""
    if record.energy_mwh is not None:
        telemetry.ENERGY.labels(record.site, record.application).inc(record.energy_mwh / 1000)
    if record.co2e_ug is not None:
        telemetry.CO2E.labels(record.site, record.application, record.waste).inc(record.co2e_ug / 1e6)


def close_waiting(tx: Transaction, job_id: str, meter: Meter) -> list[UsageRecord]:
    """Close the unwanted attempts of a job that wait; return their records."""
    now = now_ms()
    rows = tx.rows(CLOSE_WAITING, {"key": job_id, "now": now})
    records = [meter.record(attempt_of(row), now) for row in rows]
    for record in records:
        put_record(tx, record)
    return records


def settle_ended(tx: Transaction, records: Iterable[UsageRecord], meter: Meter) -> None:
    """Charge what attempts that ended have cost to the budgets of their jobs."""
    if meter.budgets:
        for record in records:
            settle(tx, record.job_id, record.price or 0)
