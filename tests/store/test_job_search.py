"""Pages of a search.

Complete, in order, and bounded in what they look at, against a simple model.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.store.samples import job
from uws_service.domain.job import Parameter, Phase
from uws_service.domain.search import Cursor, Search, Sort
from uws_service.store import Store, job_search

pytestmark = pytest.mark.anyio
PHASES = (Phase.PENDING, Phase.QUEUED, Phase.COMPLETED, Phase.ERROR, Phase.ARCHIVED)
SEARCHES = (
    Search(),
    Search(sort=Sort.CREATED_FIRST),
    Search(sort=Sort.ENDED_LAST),
    Search(sort=Sort.ENDED_FIRST, application="one"),
    Search(application="two"),
    Search(phases=frozenset({Phase.ERROR})),
    Search(phases=frozenset({Phase.ERROR, Phase.ARCHIVED}), application="one", sort=Sort.CREATED_FIRST),
    Search(phases=frozenset({Phase.ERROR, Phase.COMPLETED}), sort=Sort.ENDED_LAST),
    Search(run_id="r1"),
    Search(run_id="r1", application="two", phases=frozenset({Phase.PENDING})),
    Search(name="R"),
    Search(name="r2", phases=frozenset({Phase.PENDING, Phase.QUEUED})),
    Search(text="v7", application="one"),
    Search(after=20, before=50),
    Search(after=20, before=50, sort=Sort.ENDED_FIRST, text="v"),
)


async def fill(store: Store) -> list[Any]:
    chance = random.Random(5)
    jobs = []
    for number in range(90):
        phase = chance.choice(PHASES)
        sample = replace(
            job(f"{chance.randrange(16**8):08x}{number:04x}"),
            application=chance.choice(("one", "two")),
            owner="ada",
            phase=phase,
            created=chance.randrange(60),
            ended=chance.randrange(60) if phase in (Phase.COMPLETED, Phase.ERROR, Phase.ARCHIVED) else None,
            run_id=chance.choice((None, "r1", "r2", "x")),
            parameters=(Parameter("P", f"v{chance.randrange(9)}"),),
        )
        jobs.append((await store.create(sample, actor="me"))[0])
    await store.create(replace(job("foreign"), owner="eve"), actor="me")
    return jobs


def expected(jobs: list[Any], search: Search) -> list[str]:
    matching = [
        item
        for item in jobs
        if (search.application in (None, item.application))
        and (item.phase in search.phases if search.phases is not None else item.phase is not Phase.ARCHIVED)
        and (search.run_id in (None, item.run_id))
        and search.name.lower() in (item.run_id or "").lower()
        and search.text in item.parameters[0].value
        and (search.after is None or item.created > search.after)
        and (search.before is None or item.created < search.before)
        and (search.sort.column == "created" or item.ended is not None)
    ]
    matching.sort(key=lambda item: (getattr(item, search.sort.column), item.id), reverse=search.sort.is_descending)
    return [item.id for item in matching]


@pytest.mark.parametrize("scan", [5, 2000])
async def test_every_search(store: Store, scan: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of any size make up the whole list, however few jobs one may look at."""
    monkeypatch.setattr(job_search, "SCAN_JOBS", scan)
    jobs = await fill(store)
    for search in SEARCHES:
        for limit in (3, 200):
            collected: list[str] = []
            cursor: Cursor | None = None
            for _ in range(200):
                page = await store.search.page("ada", search, cursor, limit)
                assert len(page.rows) <= limit
                collected += [row.id for row in page.rows]
                cursor = Cursor.parse(str(page.next)) if page.next is not None else None
                if cursor is None:
                    break
            assert collected == expected(jobs, search), (search, limit)
