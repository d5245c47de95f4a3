"""Budgets: parallel jobs never spend more than there is, and the rest is right to the cent."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from uws_service.applications import load_applications
from uws_service.auth import Identity
from uws_service.domain.attempt import AttemptState, Reason, Usage
from uws_service.domain.errors import BudgetExceeded
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.domain.meter import Meter, SiteMeter
from uws_service.domain.price import MICRO, Budget, PriceList
from uws_service.placement.placer import Placer
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service
from uws_service.service.requests import Request
from uws_service.sites.local.settings import LocalSite
from uws_service.store import Store
from uws_service.store.budgets import Balance
from uws_service.web.faces.registry import STANDARDS

pytestmark = pytest.mark.anyio
CALLER = Caller(Identity(owner="ada", group="/ska"))
SECONDS = 60
PRICE = 30 * MICRO
"""Of a job that runs to its limit: 60 s of a tenth of a core at 18,000 an hour."""
JOBS = 32
AFFORDABLE = 10


METER = Meter(
    prices=(PriceList(18_000.0),),
    currency="EUR",
    budgets=(Budget(AFFORDABLE * PRICE + 29_990_000, "total", "/ska"),),
)


class Side:
    """A process of the service, as far as it starts jobs."""

    def __init__(self, store: Store, meter: Meter = METER) -> None:
        store.attempts.meter = replace(meter, sites={"local": SiteMeter("local")})
        self.store = store
        self.applications = load_applications([], STANDARDS, builtin=True)
        placer = Placer(store, (LocalSite(name="local"),), ["local"])
        self.service = Service(store, self.applications, placer, meter=store.attempts.meter)


@pytest.fixture
async def services(store: Store, peer: Store) -> list[Side]:
    """Open two processes on one database."""
    return [Side(store), Side(peer)]


async def start(runtime: Side, caller: Caller = CALLER) -> Job:
    application = runtime.applications["sleep"]
    request = Request(parameters=(Parameter("SECONDS", "0"),), run=True, duration=SECONDS)
    job, _ = await runtime.service.create(application, caller, request)
    return job


async def balance(runtime: Side) -> tuple[int, int]:
    """Return what is spent and held."""
    balances = await runtime.store.budgets.balances()
    return (balances[0].spent, balances[0].held) if balances else (0, 0)


async def end(runtime: Side, job_id: str, wall: float, reason: str | None = None) -> None:
    """Let the attempt of a job end, as its site would record it."""
    (attempt,) = await runtime.store.attempts.of(job_id)
    submitted = replace(attempt, state=AttemptState.RUNNING, submitted=attempt.created, started=attempt.created)
    await runtime.store.attempts.save(submitted)
    ended = attempt.created + round(wall * 1000)
    closed = replace(submitted, wanted=False, state=AttemptState.CLOSED, ended=ended, reason=reason, usage=Usage(wall))
    for _ in range(2):  # recorded twice, charged once
        await runtime.store.attempts.save(closed)


async def test_parallel_jobs_cannot_overspend(services: list[Side]) -> None:
    """32 at once against a budget for 10: 10 run, the others are told what is missing; then the rest is right."""
    starts = [start(services[number % 2]) for number in range(JOBS)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, BudgetExceeded)]
    assert (len(jobs), len(refusals)) == (AFFORDABLE, JOBS - AFFORDABLE)
    assert {refusal.missing for refusal in refusals} == {10_000}
    message = refusals[0].message
    assert "may cost up to 30.00 EUR" in message and "29.99 EUR left: 0.01 EUR are missing" in message
    assert await balance(services[0]) == (0, AFFORDABLE * PRICE)
    costs = 0
    for number, job in enumerate(jobs):
        wall = 1.234 + number
        await end(services[number % 2], job.id, wall, Reason.NODE_LOST if number == 3 else None)
        costs += 0 if number == 3 else round(MICRO * 1800 * wall / 3600)  # ACC-071: what was lost is not charged
    assert await balance(services[0]) == (costs, 0)
    month = (await services[0].store.usage.months())[0]
    records = [record async for page in services[0].store.usage.month(month) for record in page]
    assert sum(record.price or 0 for record in records) == costs
    assert len(records) == AFFORDABLE
    assert (await start(services[1])).phase is Phase.QUEUED


async def test_others_are_not_paid_from_it(services: list[Side]) -> None:
    """A budget is of its group alone."""
    for group in ("/other", ""):
        job = await start(services[0], Caller(Identity(owner="ada", group=group)))
        assert job.phase is Phase.QUEUED
    assert await balance(services[0]) == (0, 0)


async def test_what_never_ran_is_free_again(services: list[Side]) -> None:
    """Aborted, deleted, refused: nothing stays held."""
    service = services[0].service
    aborted, deleted = await start(services[0]), await start(services[1])
    assert await balance(services[0]) == (0, 2 * PRICE)
    await service.abort("sleep", aborted.id, CALLER)
    assert await balance(services[0]) == (0, PRICE)
    await service.delete("sleep", deleted.id, CALLER)
    assert await balance(services[0]) == (0, 0)
    wrong = Request(parameters=(Parameter("SECONDS", "many"),), run=True)
    job, _ = await service.create(services[0].applications["sleep"], CALLER, wrong)
    assert job.phase is Phase.ERROR and await balance(services[0]) == (0, 0)


async def test_a_job_that_may_run_longer_costs_more(services: list[Side]) -> None:
    """Else a short limit of time at RUN would be a way around the budget."""
    service = services[0].service
    job = await start(services[0])
    longer = await service.set_duration("sleep", job.id, CALLER, 5 * SECONDS)
    assert longer.duration == 5 * SECONDS and await balance(services[0]) == (0, 5 * PRICE)
    with pytest.raises(BudgetExceeded):
        await service.set_duration("sleep", job.id, CALLER, 11 * SECONDS)
    assert (await service.get("sleep", job.id, CALLER)).duration == 5 * SECONDS
    await service.set_duration("sleep", job.id, CALLER, SECONDS)
    assert await balance(services[0]) == (0, 5 * PRICE)
    await end(services[0], job.id, 6)
    assert await balance(services[0]) == (3 * MICRO, 0)


async def test_a_retry_keeps_what_is_held(services: list[Side]) -> None:
    """The next attempt is paid from the same amount."""
    store = services[0].store
    job = await start(services[0])
    (attempt,) = await store.attempts.of(job.id)
    running_attempt = replace(attempt, state=AttemptState.RUNNING, started=attempt.created)
    await store.attempts.save(running_attempt)
    closed = replace(
        running_attempt, state=AttemptState.CLOSED, wanted=False, ended=attempt.created + 9000,
        reason=Reason.NODE_LOST, usage=Usage(9),
    )  # fmt: skip
    following = replace(attempt, number=2, state=AttemptState.RUNNING)
    stored = await store.get(job.id)
    assert stored is not None
    await store.save(stored, stored, kind=EventKind.INFO, actor="test", attempts=[closed, following])
    assert await balance(services[0]) == (0, PRICE)
    final = replace(following, state=AttemptState.CLOSED, wanted=False, ended=attempt.created + 19_000, usage=Usage(10))
    await store.attempts.save(final)
    assert await balance(services[0]) == (5 * MICRO, 0)
    assert await store.budgets.balance("group /nobody total") == Balance("group /nobody total", 0, 0)


async def test_estimates(services: list[Side]) -> None:
    """A job says what it costs at most, before it runs and when it runs."""
    application = services[0].applications["sleep"]
    pending, _ = await services[0].service.create(application, CALLER, Request(duration=SECONDS))
    assert pending.info.estimate == {"price": "30.00", "currency": "EUR"}
    assert (await start(services[0])).info.estimate == pending.info.estimate


async def test_without_prices_nothing_is_said(store: Store) -> None:
    """N-005: no estimate without prices and powers."""
    assert (await start(Side(store, Meter()))).info.estimate == {}
