"""The caller of one request, as the service sees it."""

from __future__ import annotations

from dataclasses import dataclass

from uws_service.auth import Identity


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from which address, and with which token."""

    identity: Identity
    origin: str = ""
    """Address that the request came from, for the history of jobs."""
    token: str | None = None
    """The token that the caller was verified by, to be exchanged for access to a job's data."""

    @property
    def actor(self) -> str:
        """Return the word for this caller in the history of a job."""
        return self.identity.actor

    @property
    def owner(self) -> str | None:
        """Return the owner of the jobs that this caller creates."""
        return self.identity.owner
