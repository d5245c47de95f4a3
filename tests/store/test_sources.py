"""Jobs that name results of others, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store.samples import job
from uws_service.domain.events import EventKind
from uws_service.domain.job import Parameter
from uws_service.store import Store

pytestmark = pytest.mark.anyio

SOURCE = "0123456789abcdef0123456789abcdef"


def naming(*sources: str) -> tuple[Parameter, ...]:
    return tuple(Parameter("FILE", f"https://h/app/async/{source}/results/result") for source in sources)


async def test_followers(store: Store, peer: Store) -> None:
    """They come with a job, change with its parameters, and go with it."""
    first = replace(job("first"), parameters=naming(SOURCE, "f" * 32, SOURCE))
    await store.create(first, actor="me")
    await store.create(job("second"), actor="me")
    assert await peer.sources.followers(SOURCE, 10) == [(first.application, "first")]
    assert await store.sources.followers("f" * 32, 10) == [(first.application, "first")]
    changed = await store.save(
        first, replace(first, parameters=naming("e" * 32)), kind=EventKind.PARAMETERS, actor="me"
    )
    assert await store.sources.followers(SOURCE, 10) == []
    assert await store.sources.followers("e" * 32, 10) == [(first.application, "first")]
    await store.delete(changed, actor="me")
    assert await store.sources.followers("e" * 32, 10) == []
