"""The interface between a controller and its site."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Attempt, Launch, Observation
from uws_service.domain.errors import ServiceUnavailable, UwsError
from uws_service.domain.job import Result
from uws_service.store import WorkFolder


class Collected(NamedTuple):
    """The files of an attempt, now in the depot.

    ``tail`` is the end of what the command said.
    """

    results: tuple[Result, ...]
    logs: tuple[Result, ...]
    tail: str = ""
    problem: str = ""
    """Why a result is not among them that was there when the attempt ended."""


class NotNow(ServiceUnavailable):
    """The site can't do it at the moment.

    ``sent``: it may have been done all the same.
    """

    def __init__(self, message: str, *, sent: bool = True, retry_after: int = 10) -> None:
        super().__init__(message, retry_after=retry_after)
        self.sent = sent


class Refused(UwsError):
    """The site does not take this attempt, and never will."""

    status = 422


class Health(NamedTuple):
    """Whether a site can be asked.

    ``since`` (milliseconds) is when it last could, if it can't.
    """

    reachable: bool
    since: int = 0
    message: str = ""


def result_key(job_id: str, result_id: str) -> str:
    """Return where a result lies in the depot."""
    return f"jobs/{job_id}/results/{result_id}"


def log_key(job_id: str, name: str) -> str:
    """Return where a log (``stdout``, ``stderr``) lies in the depot."""
    return f"jobs/{job_id}/logs/{name}"


def live_key(job_id: str, number: int, name: str) -> str:
    """Return where the end of a log lies while its command runs, if the site hands it over."""
    return f"jobs/{job_id}/site/{number}/live-{name}"


LIVE_LOG_BYTES = 1024 * 1024


class Executor(ABC):
    """One site.

    Below are first what every kind of site must have, then what it may have.

    An executor keeps no truth of its own. It takes attempts, shows what there is of them, stops them, and brings their
    files to the depot. Each call can be repeated without harm, since the service may be killed between any two of them.
    """

    site: str
    capacity: int
    """How many attempts may be at the site at once."""
    streams: tuple[str, ...] = ("stdout",)
    """The logs that it has of a command: ``stdout``, ``stderr``, or both in one as ``stdout``."""

    margin: int | None = None
    """How many attempts of one group may be there that do not run yet, at a site that shares by itself; None: any."""

    storage: Sequence[Storage] = ()
    """The storage areas that the site has."""

    identity: WorkFolder | None = None
    """The work folder in which its jobs run, once it is started, for a site that belongs to one machine."""

    # -- what every kind has ---------------------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, launch: Launch) -> None:
        """Hand an attempt to the site.

        An attempt that is there already is left alone.

        Return soon: files are brought in the background, and what goes wrong with them is in `observe`.

        Raises
        ------
        NotNow
            The site can't take it at the moment.
        Refused
            The site will never take it.
        """

    @abstractmethod
    async def observe(self) -> list[Observation]:
        """Return everything that is at the site."""

    @abstractmethod
    async def kill(self, job_id: str, number: int) -> None:
        """Begin to stop an attempt: softly, then by force.

        `observe` shows when it has ended.
        """

    @abstractmethod
    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Put the files of an ended attempt into the depot.

        Return what they are and what is lost.

        Raises
        ------
        ServiceUnavailable, StorageFull
            The depot can't take them now; call again.
        """

    @abstractmethod
    async def forget(self, job_id: str, number: int) -> None:
        """Remove everything of an attempt from the site.

        Whatever of it still runs is killed.
        """

    # -- what a kind may have --------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Return whether the site can be asked at the moment."""
        return Health(True)

    async def start(self) -> None:
        """Get ready, and find again what an earlier service left running.

        Raises
        ------
        ConfigurationError
            The site can't be used, or another process drives it.
        """

    async def stop(self) -> None:
        """Let go of the site.

        What runs there goes on.
        """

    async def close(self) -> None:
        """Close what was opened.

        It need not have been started.
        """

    async def wait_change(self, timeout: float) -> None:
        """Wait for a change at the site.

        Return after so many seconds in any case.
        """
        await asyncio.sleep(timeout)

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the end of a log as it is now.

        At most 1 MiB; None if the site has none.
        """
        return None
