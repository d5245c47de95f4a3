"""Another try of a job that may do better with something else than the one before had.

One that ran out of memory gets more, if its application allows that. One whose data are not where its site should have
them fetches them: a volume may not be mounted, a file may have vanished since it was looked up, or be another one than
the catalogue describes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from uws_service.applications import Application
from uws_service.data.replicas import bind, is_usable
from uws_service.domain.attempt import Attempt, Launch, Reason
from uws_service.domain.dataset import DataFile, DataParameter
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job
from uws_service.placement.placer import Destination, Placer
from uws_service.placement.wording import in_memory


class Failure(NamedTuple):
    """Why an attempt ended."""

    reason: Reason
    message: str


class OtherTry(NamedTuple):
    """What the next attempt runs, where it waits, and why it is another one: words for the job's owner."""

    launch: Launch
    destination: Destination
    words: str
    data: str = ""
    """How it reads its data, if that is what is different."""


async def other_try(
    placer: Placer, application: Application | None, job: Job, attempt: Attempt, launch: Launch | None, failure: Failure
) -> OtherTry | None:
    """Return the next try of a job that has failed; None if nothing else would help, or no site takes it so.

    ``launch`` is what the failed attempt ran. The application bounds how often a job is tried.
    """
    if failure.reason not in (Reason.OUT_OF_MEMORY, Reason.STAGE_IN):
        return None
    if launch is None or application is None or attempt.number >= application.limits.attempts:
        return None
    data = ""
    if failure.reason is Reason.OUT_OF_MEMORY:
        memory = application.resources.memory_after(launch.memory)
        following = replace(launch, memory=memory) if memory else None
        words = f"attempt {attempt.number} ran out of memory; another one follows with {in_memory(memory)} of memory"
    else:
        following = _fetching(launch, placer, attempt.site)
        problem = failure.message.rstrip(".")
        words = data = f"its data could not be read in place at {attempt.site}, and are fetched: {problem}"
    if following is None:
        return None
    following = replace(following, number=attempt.number + 1)
    try:
        destination = await placer.place(job, application, following, group=attempt.group)
    except UsageError:
        return None
    return OtherTry(following, destination, words, data)


def _fetching(launch: Launch, placer: Placer, site: str) -> Launch | None:
    """Return a launch that mounts nothing of what it mounted at a site.

    None if it had nothing mounted there, so that it has tried every replica already, or if it can't do without.
    """
    configured = placer.configured.get(site)
    if configured is None:
        return None
    try:
        inputs = bind(launch, configured.storage_areas()).inputs
    except UsageError:
        return None
    areas = {item.mount.area for item in inputs if item.mount is not None}
    data = tuple(_unmounted(parameter, areas) for parameter in launch.data)
    if not areas or not all(any(map(is_usable, file.replicas)) for entry in data for file in entry.files()):
        return None
    return replace(launch, data=data)


def _unmounted(parameter: DataParameter, areas: Collection[str]) -> DataParameter:
    """Return a parameter whose files are not mounted from these areas, nor brought; what has a URL is fetched."""

    def without_path(file: DataFile) -> DataFile:
        copies = tuple(replace(copy, path="") if copy.area in areas else copy for copy in file.replicas)
        return replace(file, replicas=copies)

    sets = tuple(replace(entry, files=tuple(map(without_path, entry.files)), lake="") for entry in parameter.sets or ())
    return replace(parameter, sets=sets)
