"""Data that the lake brings to a site before their job starts there.

A site with room has taken the job, and none of its storage areas has the data. The lake makes copies at one of them (a
rule, in Rucio), and the job waits without a slot. Every step can be repeated: a rule that is there is found again. What
the lake refuses, or does not do in time, the job fetches itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from uws_service.data.answers import CatalogueFault
from uws_service.data.catalogue import Absent, Brought, Outcome
from uws_service.data.catalogues import Catalogues
from uws_service.data.identifiers import parse_identifier
from uws_service.data.replicas import Storage, brought_bytes, is_near
from uws_service.domain.attempt import Attempt, Launch
from uws_service.domain.dataset import DataParameter, DataSet
from uws_service.placement.model import Wish, parse_wish
from uws_service.placement.objections import passing_objection
from uws_service.placement.placer import Placer
from uws_service.placement.wording import in_time
from uws_service.store import Lookup

log = structlog.get_logger(__name__)

AT_ONCE = 10
"""Data sets of which the lake is asked at the same time."""
FIRST_PAUSE_MS, PAUSE_MAX_MS = 1_000, 30_000
"""Before the lake is asked again; doubled each time."""


class OnTheWay(NamedTuple):
    """The data are not all there yet.

    In words for the job's owner.
    """

    words: str


class Settled(NamedTuple):
    """The job goes on.

    Its data are there, or are fetched; in words for its owner.
    """

    words: str


class Leaves(NamedTuple):
    """The site takes no such jobs any more.

    Another one may.
    """


Progress = OnTheWay | Settled | Leaves


class Bringer:
    """Has data brought to sites, and looks how far that is.

    Parameters
    ----------
    catalogues
        Those of them that are lakes make the copies.
    placer
        Knows whether the sites still take jobs.
    """

    def __init__(self, catalogues: Catalogues, placer: Placer, clock: Callable[[], int]) -> None:
        self.catalogues = catalogues
        self.placer = placer
        self.clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)

    async def progress(self, lookup: Lookup, attempt: Attempt, launch: Launch, tokens: Mapping[str, str]) -> Progress:
        """Return how far the data of one job are; what is missing is asked for.

        Raises
        ------
        CatalogueFault
            The lake can't be asked now.
        """
        site = self.placer.configured.get(lookup.site)
        storage = site.storage_areas() if site is not None else ()
        area = next((entry.area for entry in storage if entry.brings), None)
        if area is None or attempt.site != lookup.site or not await self._takes(lookup, attempt):
            return Leaves()
        missing = missing_sets(launch, storage)
        try:
            states = await asyncio.gather(*(self._bring(area, data_set, tokens) for data_set in missing))
        except CatalogueFault as error:
            if error.transient:
                raise
            return self._given_up(lookup, str(error))
        if all(state.complete for state in states):
            files = sum(state.files for state in states)
            verb = "was" if files == 1 else "were"
            return Settled(f"{_files(files)} {verb} brought to {lookup.site} ({area}) by {_lakes(missing)}")
        if self.clock() - lookup.since >= self.catalogues.settings.bring_patience * 1000:
            patience = in_time(self.catalogues.settings.bring_patience)
            return self._given_up(lookup, f"not there after {patience}")
        return OnTheWay(progress_words(lookup.site, states))

    def moved_bytes(self, site: str, launch: Launch, parameters: Sequence[DataParameter]) -> int:
        """Return the bytes that the lake has brought to a site for a job; none if there is no such site."""
        configured = self.placer.configured.get(site)
        return brought_bytes(launch.data, parameters, configured.storage_areas()) if configured is not None else 0

    def _given_up(self, lookup: Lookup, problem: str) -> Settled:
        log.warning("data are not brought", job=lookup.job_id, site=lookup.site, problem=problem)
        return Settled(f"its data could not be brought to {lookup.site}, and are fetched: {problem}")

    async def _takes(self, lookup: Lookup, attempt: Attempt) -> bool:
        view = (await self.placer.views()).get(lookup.site)
        if view is None or not view.reachable:
            return False
        wish = parse_wish(attempt.wish) if attempt.wish else Wish(attempt.application)
        return not passing_objection(view, wish, time.time_ns() // 1_000_000)

    async def _bring(self, area: str, data_set: DataSet, tokens: Mapping[str, str]) -> Brought:
        catalogue = self.catalogues.named(data_set.lake)
        if catalogue is None:
            raise CatalogueFault(f"there is no catalogue {data_set.lake!r} any more", transient=False)
        async with self._places:
            state = await catalogue.bring(area, parse_identifier(data_set.identifier), tokens.get(catalogue.name))
        return state if state.files else state._replace(files=len(data_set.files))


def missing_sets(launch: Launch, storage: Sequence[Storage]) -> list[DataSet]:
    """Return the data sets of a lake of which some file is at no storage area of a site, each once."""
    missing = {
        data_set.identifier: data_set
        for parameter in launch.data
        for data_set in parameter.sets or ()
        if data_set.lake and not all(is_near(file, storage) for file in data_set.files)
    }
    return list(missing.values())


def progress_words(site: str, states: Iterable[Brought]) -> str:
    """Return how far data are on their way to a site: a sentence without its end."""
    states = list(states)
    here, files = sum(state.here for state in states), sum(state.files for state in states)
    problem = next((state.problem for state in states if state.problem), "")
    words = f"its data are brought to {site}: {here} of {_files(files)} {'is' if files == 1 else 'are'} there"
    return f"{words} ({problem})" if problem else words


def pause_ms(tries: int) -> int:
    """Return how long to wait before the lake is asked again."""
    return int(min(FIRST_PAUSE_MS * 2 ** min(tries, 10), PAUSE_MAX_MS))


def without_lake(outcome: Outcome) -> Outcome:
    """Return what is at an identifier so that nothing of it is brought once more."""
    return outcome if isinstance(outcome, Absent) else replace(outcome, lake="")


def _lakes(sets: Iterable[DataSet]) -> str:
    return " and ".join(sorted({data_set.lake for data_set in sets})) or "the lake"


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
