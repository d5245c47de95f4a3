"""The store against a model of dictionaries."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.store.queues import next_attempts
from tests.store.samples import attempt, job
from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.errors import IdempotencyConflict
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.store import StaleJob, Store

T = TypeVar("T")
RANK = [AttemptState.WAITING, AttemptState.SUBMITTED, AttemptState.RUNNING, AttemptState.CLOSED]
_names = itertools.count()
GIVEN_UP = -1
"""The end of an attempt at a time of the store's."""


def given_up(item: Attempt) -> Attempt:
    """Return the attempt as it is stored: one that waits and nobody wants is closed, at a time of the store's."""
    if item.wanted or item.state is not AttemptState.WAITING:
        return item
    return replace(item, state=AttemptState.CLOSED, reason=Reason.ABORTED.value, ended=GIVEN_UP)


class Model(RuleBasedStateMachine):
    """A run with its own application and site."""

    runner: asyncio.Runner
    store: Store

    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        self.name = f"run{next(_names)}"
        self.rows: dict[str, Job] = {}
        self.events: dict[str, list[tuple[str, int]]] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.garbage: set[str] = set()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def put(self, item: Attempt) -> None:
        """Save an attempt as the store promises: never back."""
        old = self.attempts.get((item.job_id, item.number))
        if old is None:
            self.attempts[item.job_id, item.number] = given_up(item)
            return
        is_wanted = old.wanted and item.wanted
        if old.state is AttemptState.CLOSED:
            item = old
        elif old.state in RANK[1:3] and RANK.index(item.state) < RANK.index(old.state):
            item = replace(item, state=old.state)
        self.attempts[item.job_id, item.number] = given_up(replace(item, wanted=is_wanted))

    def attempts_of(self, job_id: str) -> list[Attempt]:
        return [item for place, item in sorted(self.attempts.items()) if place[0] == job_id]

    def stored(self, job_id: str) -> list[Attempt]:
        rows = self.do(self.store.attempts.of(job_id))
        assert all(row.ended for row in rows if row.state is AttemptState.CLOSED)
        return [replace(row, ended=GIVEN_UP) if row.reason == Reason.ABORTED else row for row in rows]

    @rule(
        target=jobs,
        owner=st.sampled_from([None, "a", "b"]),
        created=st.integers(1, 5),
        listed=st.booleans(),
        key=st.sampled_from([None, "k1", "k2"]),
        fingerprint=st.sampled_from(["f1", "f2"]),
        run=st.booleans(),
    )
    def create(
        self, owner: str | None, created: int, listed: bool, key: str | None, fingerprint: str, run: bool
    ) -> Any:
        item = job(f"{self.name}-{next(_names):06}", application=self.name, owner=owner, created=created, listed=listed)
        item = replace(item, destruction=created * 10)
        first = attempt(item.id, site=self.name, owner=owner or "", created=created) if run else None
        idempotency = None if key is None else (key, fingerprint)
        creation = self.store.create(item, actor="me", idempotency=idempotency, attempt=first)
        earlier = None if key is None else self.keys.get((owner or "", key))
        if earlier is not None and earlier[1] != fingerprint:
            with pytest.raises(IdempotencyConflict):
                self.do(creation)
            return multiple()
        if earlier is not None:
            assert self.do(creation) == (self.rows[earlier[0]], False)
            return multiple()
        assert self.do(creation) == (item, True)
        self.rows[item.id] = item
        self.events[item.id] = [("CREATED", 1)]
        if first is not None:
            self.put(first)
        if key is not None:
            self.keys[owner or "", key] = (item.id, fingerprint)
        return item

    @rule(
        target=jobs,
        before=jobs,
        phase=st.sampled_from(Phase),
        silent=st.booleans(),
        number=st.sampled_from([0, 1, 1, 2]),
        state=st.sampled_from(RANK),
        wanted=st.booleans(),
    )
    def save(self, before: Job, phase: Phase, silent: bool, number: int, state: AttemptState, wanted: bool) -> Any:
        """Save with any version that was ever read."""
        after = replace(before, phase=phase)
        attempts = [self.attempt(before, number, state, wanted)][: number > 0]
        saving = self.store.save(
            before, after, kind=EventKind.INFO if silent else EventKind.PARAMETERS, actor="me", attempts=attempts
        )
        current = self.rows.get(before.id)
        if current is None or current.version != before.version:
            with pytest.raises(StaleJob):
                self.do(saving)
            return multiple()
        saved = self.do(saving)
        assert saved == replace(after, version=before.version + 1)
        self.rows[before.id] = saved
        for item in attempts:
            self.put(item)
        if not silent:
            self.events[before.id].append(("PARAMETERS", saved.version))
        assert self.stored(before.id) == self.attempts_of(before.id)
        return saved

    def attempt(self, of: Job, number: int, state: AttemptState, wanted: bool) -> Attempt:
        ended = of.created if state is AttemptState.CLOSED else None
        fields = {"site": self.name, "owner": of.owner or "", "created": of.created}
        return attempt(of.id, number, state=state, wanted=wanted, ended=ended, **fields)

    @rule(of=jobs, number=st.integers(1, 2), state=st.sampled_from(RANK), wanted=st.booleans())
    def save_attempt(self, of: Job, number: int, state: AttemptState, wanted: bool) -> None:
        """Save an attempt, as a controller does."""
        item = self.attempt(of, number, state, wanted)
        self.do(self.store.attempts.save(item))
        self.put(item)
        assert self.stored(of.id) == self.attempts_of(of.id)

    @rule(before=jobs)
    def delete(self, before: Job) -> None:
        current = self.rows.get(before.id)
        if current is None or current.version != before.version:
            with pytest.raises(StaleJob):
                self.do(self.store.delete(before, actor="me"))
            return
        self.do(self.store.delete(before, actor="me"))
        del self.rows[before.id]
        self.keys = {key: value for key, value in self.keys.items() if value[0] != before.id}
        self.garbage.add(before.id)
        self.events[before.id].append(("DELETED", before.version + 1))
        for place, item in self.attempts.items():
            if place[0] == before.id:
                self.attempts[place] = given_up(replace(item, wanted=False))

    @rule(selected=jobs)
    def collect(self, selected: Job) -> None:
        if selected.id in self.garbage:
            self.do(self.store.garbage.remove(selected.id))
            self.garbage.discard(selected.id)

    @rule(
        owner=st.sampled_from([None, "a", "b", "c"]),
        phases=st.none() | st.frozensets(st.sampled_from(Phase), min_size=1, max_size=3),
        after=st.none() | st.integers(0, 5),
        last=st.none() | st.integers(0, 6),
        page=st.integers(1, 4),
    )
    def lists(
        self, owner: str | None, phases: frozenset[Phase] | None, after: int | None, last: int | None, page: int
    ) -> None:
        async def ids() -> list[str]:
            pages = self.store.list_jobs(self.name, owner=owner, phases=phases, after=after, last=last, page=page)
            return [ref.id async for refs in pages for ref in refs]

        expected = [
            item
            for item in self.rows.values()
            if item.listed
            and item.owner == owner
            and (item.phase in phases if phases is not None else item.phase is not Phase.ARCHIVED)
            and (after is None or item.created > after)
        ]
        expected.sort(key=lambda item: (item.created, item.id), reverse=True)
        assert self.do(ids()) == [item.id for item in expected][:last]

    @rule(free=st.integers(0, 5))
    def waiting(self, free: int) -> None:
        """Check that as many start as can, and those of an owner in order."""
        waiting = [item for item in self.attempts.values() if item.state is AttemptState.WAITING and item.wanted]
        started = self.do(next_attempts(self.store, self.name, free, 10**6))
        assert len(started) == min(free, len(waiting))
        for owner in {item.owner for item in started}:
            queue = sorted((item.created, item.job_id) for item in waiting if item.owner == owner)
            first = [(item.created, item.job_id) for item in started if item.owner == owner]
            assert first == queue[: len(first)]

    @rule()
    def live(self) -> None:
        expected = {
            place
            for place, item in self.attempts.items()
            if item.state in RANK[1:3] or (not item.wanted and item.state is not AttemptState.CLOSED)
        }
        rows = self.do(self.store.attempts.live(self.name))
        assert {(item.job_id, item.number) for item in rows} == expected and len(rows) == len(expected)

    @rule(selected=jobs)
    def look(self, selected: Job) -> None:
        """Compare all of a job with the model."""
        current = self.rows.get(selected.id)
        assert self.do(self.store.get(selected.id)) == current
        glance = self.do(self.store.glance(selected.id))
        assert (glance and (glance.version, glance.phase)) == (current and (current.version, current.phase))
        history = self.do(self.store.history.of(selected.id))
        assert [(item.kind, item.version) for item in history] == self.events[selected.id]
        assert self.stored(selected.id) == self.attempts_of(selected.id)
        earlier = self.do(self.store.garbage.referenced([selected.id]))
        assert (selected.id in earlier) == (selected.id in self.rows or selected.id in self.garbage)

    @rule(now=st.integers(0, 60))
    def due(self, now: int) -> None:
        rows = [item.id for item in self.do(self.store.due(now, 10**6)) if item.application == self.name]
        assert set(rows) == {
            item.id
            for item in self.rows.values()
            if (item.destruction or 0) <= now and item.phase is not Phase.ARCHIVED
        }

    @invariant()
    def garbage_waits_for_what_runs(self) -> None:
        busy = {place[0] for place, item in self.attempts.items() if item.state is not AttemptState.CLOSED}
        rows = {item for item in self.do(self.store.garbage.removable(10**6)) if item.startswith(f"{self.name}-")}
        assert rows == self.garbage - busy


def test_store_does_what_the_model_does(url: str) -> None:
    """Random commands agree with the model."""
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(url, create=True))
        bound = type("BoundModel", (Model,), {"runner": runner, "store": store})
        try:
            run_state_machine_as_test(
                bound,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=40,
                    suppress_health_check=list(HealthCheck),
                    database=None,
                ),
            )
        finally:
            runner.run(store.close())
