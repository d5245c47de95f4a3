"""What a batch system must be able to do, and what it shows of its jobs.

One batch job is one attempt. It is created in two phases. `BatchSystem.submit_held` makes a job that can't run; then
rivals are looked for; and only `BatchSystem.release` lets it run. So a crash between any two calls leaves a job that
never ran, and two services that submit the same attempt at once agree on one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from uws_service.domain.attempt import Reason, Usage

Key = tuple[str, int]
"""Job id and number of an attempt."""


class BatchState(StrEnum):
    """The state of a batch job, in words that all systems share."""

    HELD = "HELD"  # created; it can't run until it is released
    QUEUED = "QUEUED"  # released; it waits for a place
    STARTING = "STARTING"  # it has a place; its files are brought, its node is made ready
    RUNNING = "RUNNING"  # its agent runs
    SUSPENDED = "SUSPENDED"  # stopped by the system, which goes on with the same process
    STUCK = "STUCK"  # the system does not go on with it, unless an operator helps
    ENDING = "ENDING"  # asked to end; something of it may still run
    ENDED = "ENDED"  # nothing of it runs, and nothing of it ever will


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A batch job as its system shows it now; instants in milliseconds since the epoch."""

    key: Key
    handle: str
    """The system's own id of it."""
    state: BatchState
    exit_code: int | None = None
    """Of the agent, not of the command: 0 after a report that the service has taken."""
    signal: int | None = None
    """What ended the agent, if a signal did."""
    reason: Reason | None = None
    """Why it ended or is stuck, where the system itself says so; None: what the agent reports decides."""
    message: str = ""
    """The system's own words for that."""
    waiting: str = ""
    """Why it does not run yet, in words for its owner."""
    place: int | None = None
    """How many are before it, where the system tells."""
    node: str = ""
    submitted: int | None = None
    started: int | None = None
    ended: int | None = None
    usage: Usage = field(default_factory=Usage)
    starts: int = 0
    """How often the system has begun to run it."""
    silent: bool = False
    """Whether its node does not answer the system at the moment."""

    @property
    def order(self) -> tuple[int, str]:
        """Return its rank among jobs of one attempt.

        The lowest is the one that may run.
        """
        digits = "".join(character for character in self.handle.partition(".")[0] if character.isdigit())
        return int(digits or 0), self.handle


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """All that a system needs to create the batch job of an attempt."""

    key: Key
    name: str
    """The job's name at the system: ``uws-{job id}-{number}``, for people."""
    command: tuple[str, ...]
    """What is started in the job's own folder, where its files lie."""
    files: Mapping[str, bytes]
    """Files of the job's folder, by name; one may hold a secret, so nobody but the job's user may read them."""
    account_user: str
    """Who the job counts to in the system's fair share: a name made of the owner, without odd characters."""
    group: str
    """The owner's group, whose share it counts to; empty: none."""
    cpu: float
    memory: int  # bytes
    disk: int = 0  # bytes
    gpus: int = 0
    duration: int = 0
    """Seconds after which the system may end it by itself, bringing the inputs included; 0: no limit."""
    priority: int = 0


class BatchSystem(Protocol):
    """One batch system, as one service uses it.

    It is made with the site's settings and the name of the service's database (the *instance*), and everything that it
    creates carries the instance and the attempt's key. Each call may raise `NotNow` (``sent`` tells whether it may have
    been done all the same); each can be repeated.
    """

    streams: tuple[str, ...]
    """The logs that its jobs have, if it brings them itself; empty: the agent hands them over."""

    forgets: bool
    """Whether it may lose a job that nobody has removed; such a job is handed over again if its agent never began."""

    async def open(self) -> None:
        """Get ready; connections are made when they are needed, and made again when they break."""

    async def close(self) -> None:
        """End the connections; the jobs go on."""

    async def health(self) -> None:
        """Ask whether the system can be used.

        Raises
        ------
        NotNow
            It can't be reached, or does not take jobs now.
        """

    async def submit_held(self, spec: BatchSpec) -> str:
        """Create a job that can't run, and return its handle.

        Raises
        ------
        Refused
            The system will never take it.
        """

    async def release(self, handle: str, spec: BatchSpec) -> None:
        """Let a created job run.

        It may be shown as HELD for a moment longer.

        Raises
        ------
        NotNow
            It can't be released: it was removed meanwhile, or nobody can say. It is looked for again then.
        """

    async def find(self, key: Key) -> list[BatchJob]:
        """Return all jobs of an attempt that the system has now, whoever created them; never from a copy."""

    async def query(self) -> list[BatchJob]:
        """Return all jobs of this service, by one question; those that ended stay until they are forgotten."""

    async def ended(self, handles: Sequence[str]) -> list[BatchJob]:
        """Return what the system's history has of jobs that `query` no longer shows, where it has any."""

    async def cancel(self, handle: str) -> None:
        """Ask a job to end, softly and then by force; a held job ends at once, and can't be released any more.

        It has ended when it is shown as ENDED.
        """

    async def discard(self, handle: str) -> None:
        """Remove a job that can't run.

        One that was released meanwhile is left as it is, in one step at the system.
        """

    async def forget(self, handle: str) -> None:
        """Remove a job and its files from the system; what still runs of it is cancelled first.

        One that is not there is forgotten already.
        """

    async def log(self, handle: str) -> bytes:
        """Return what the agent of a job has said to its operators, if the system has it; at most 64 KiB."""
