"""The caller of a request."""

from __future__ import annotations

from dataclasses import dataclass

from uws_service.auth import Identity


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: identity, address and token."""

    identity: Identity
    origin: str = ""
    """Address that the request came from, for the history of jobs."""
    token: str | None = None
    """The token that the caller was verified by, to be exchanged for access to a job's data."""

    @property
    def actor(self) -> str:
        """Return the name in the history of jobs."""
        return self.identity.actor

    @property
    def owner(self) -> str | None:
        """Return the owner of jobs that the caller creates."""
        return self.identity.owner
