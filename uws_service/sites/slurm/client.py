"""What is asked of a cluster, whichever way it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from uws_service.sites.executor import NotNow, Refused
from uws_service.sites.slurm.jobs import Document

PERMANENT = (
    "invalid account",
    "invalid partition",
    "invalid qos",
    "invalid wckey",
    "invalid feature",
    "invalid generic resource",
    "invalid reservation",
    "invalid time limit",
    "requested time limit is invalid",
    "requested node configuration is not available",
    "node count specification invalid",
    "cpu count specification invalid",
    "more processors requested than permitted",
    "memory specification can not be satisfied",
    "larger than",
    "too large",
    "access/permission denied",
    "not permitted to use this partition",
)
"""Parts of Slurm's words for what it never takes; everything else may be otherwise later, such as a limit of jobs."""


class SlurmClient(Protocol):
    """One cluster. Each call may raise `NotNow`.

    Its ``sent`` tells whether it may have been done all the same.
    """

    async def close(self) -> None:
        """End the connections."""

    async def ping(self) -> str:
        """Return the cluster's name and release, if slurmctld answers and knows this user."""

    async def submit(self, description: Mapping[str, Any], script: str) -> int:
        """Create a job and return its id.

        `Refused` if it will never be taken.
        """

    async def states(self) -> Mapping[int, frozenset[str]]:
        """Return the states of all jobs of the cluster, by id."""

    async def job(self, job_id: int) -> Document | None:
        """Return a job.

        None if slurmctld has none of this id.
        """

    async def jobs(self) -> Sequence[Document]:
        """Return all jobs of the cluster."""

    async def release(self, job_id: int) -> None:
        """Let a held job run."""

    async def cancel(self, job_id: int) -> None:
        """Ask a job to end.

        One that has ended, or is not there, is left alone.
        """

    async def history(self, job_id: int) -> Sequence[Document]:
        """Return the accounting's records of an id.

        None where there is no accounting.
        """


def refusal(site: str, words: str) -> NotNow | Refused:
    """Return the error for what Slurm said to a submission that it did not take."""
    if any(part in words.lower() for part in PERMANENT):
        return Refused(f"The site {site} does not take the job: {words}")
    return NotNow(f"site {site}: {words}", sent=False)
