"""Notices are written with their events, for those alone who want them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.store.samples import job
from uws_service.domain.events import EventKind
from uws_service.domain.job import Phase
from uws_service.domain.notification import Kind, Subscription, Wish
from uws_service.store import Store

pytestmark = pytest.mark.anyio


def subscription(key: str, wish: Wish, **changes: object) -> Subscription:
    plain = Subscription(key, Kind.WEBHOOK, "ada", "https://x/", wish, "https://jobs", 1)
    return replace(plain, **changes)  # type: ignore[arg-type]


async def deliveries(store: Store) -> dict[str, list[str]]:
    """Return the phases of what waits, by subscription."""
    groups = await store.notifications.take(1 << 60, (1 << 60) + 1, receivers=50, page=50)
    return {group[0].subscription_id: [json.loads(item.payload)["phase"] for item in group] for group in groups}


async def test_who_is_told(store: Store) -> None:
    """E-020: by owner, job, event, phase and application."""
    ends = Wish()
    wanted = {
        "ends": subscription("ends", ends),
        "all": subscription("all", Wish(phases=())),
        "app": subscription("app", Wish(phases=(), applications=("app", "b_p"))),
        "other-app": subscription("other-app", Wish(phases=(), applications=("a_p", "ap", "appp"))),
        "job": subscription("job", ends, job_id="a"),
        "other-job": subscription("other-job", ends, job_id="b"),
        "deleted": subscription("deleted", Wish(events=("deleted",))),
        "other-owner": subscription("other-owner", Wish(phases=()), owner="eve"),
        "off": subscription("off", Wish(phases=()), disabled=5),
        "feed": subscription("feed", Wish(phases=()), kind=Kind.FEED),
    }
    for entry in wanted.values():
        assert await store.notifications.add(entry, 20, 20)
        assert await store.notifications.get(entry.id) == entry
    first, _ = await store.create(replace(job(), owner="ada", application="app"), actor="me")
    await store.create(replace(job("anonymous"), owner=None), actor="me")
    after = await store.save(first, replace(first, phase=Phase.ERROR), kind=EventKind.PHASE, actor="me")
    await store.save(after, replace(after, run_id="x"), kind=EventKind.PARAMETERS, actor="me")
    assert await deliveries(store) == {
        "ends": ["ERROR"],
        "all": ["PENDING", "ERROR"],
        "app": ["PENDING", "ERROR"],
        "job": ["ERROR"],
    }


async def test_bounds_and_ends(store: Store) -> None:
    for number in range(3):
        assert await store.notifications.add(subscription(f"s{number}", Wish()), 3, 5)
    assert not await store.notifications.add(subscription("s3", Wish()), 3, 5)
    for number in range(5):
        entry = subscription(f"j{number}", Wish(), job_id=f"job{number}")
        assert await store.notifications.add(entry, 3, 5)
    assert not await store.notifications.add(subscription("j5", Wish(), job_id="job5"), 3, 5)
    assert [entry.id for entry in await store.notifications.entries("ada")] == ["s0", "s1", "s2"]
    await store.create(replace(job("job0"), owner="ada"), actor="me")
    await store.notifications.trim()  # those of jobs that are not there
    assert [await store.notifications.get(f"j{number}") is not None for number in range(5)] == [True] + [False] * 4
    await store.notifications.delete("s1")
    assert [entry.id for entry in await store.notifications.entries("ada")] == ["s0", "s2"]


async def test_other_secrets(store: Store) -> None:
    await store.notifications.add(subscription("s", Wish(), locked="old"), 9, 9)
    await store.notifications.rotate("s", "new", "old", 99)
    entry = await store.notifications.get("s")
    assert entry is not None and (entry.locked, entry.previous, entry.previous_until) == ("new", "old", 99)
