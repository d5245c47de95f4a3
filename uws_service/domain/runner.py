"""The runner of a site that only calls out, and what it may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

from uws_service.domain.agent import AgentIdentity


class RunnerSession(NamedTuple):
    """The session of a runner that has shown who it is."""

    site: str
    runner: str
    epoch: int


class RunnerApi(Protocol):
    """What runners may ask."""

    async def admit(self, site: str, token: str, origin: str) -> None:
        """Raise `AuthenticationRequired` or `Forbidden` unless a token is that of the site's runner."""

    async def open(self, site: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a session.

        Return what the runner needs to know, as JSON values.
        """

    async def require(self, session: RunnerSession) -> None:
        """Raise `Conflict` if a session is over."""

    async def close(self, session: RunnerSession) -> None:
        """End a session."""

    async def orders(self, session: RunnerSession, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is to be done, once there is anything, as JSON values."""

    async def report(self, session: RunnerSession, content: Mapping[str, Any]) -> dict[str, Any]:
        """Record what the runner has done and sees.

        Return what it should forget, as JSON values.
        """

    async def agent(self, session: RunnerSession, job_id: str, number: int, voice: str) -> AgentIdentity:
        """Return the agent for which a runner speaks."""

    def beginning(self, agent: AgentIdentity, start: Mapping[str, Any]) -> AgentIdentity:
        """Return an agent with the heartbeat that it promises, if it runs the command itself."""

    async def read_input(
        self, session: RunnerSession, job_id: str, number: int, index: int
    ) -> tuple[int, AsyncIterator[bytes]]:
        """Return size and content of an input."""

    async def data(self, session: RunnerSession, job_id: str, number: int) -> dict[str, Any]:
        """Return the tokens for an attempt's data, as JSON values."""

    async def put_log(
        self, session: RunnerSession, job_id: str, number: int, name: str, chunks: AsyncIterator[bytes], size: int,
        sha256: str, *, live: bool,
    ) -> None:  # fmt: skip
        """Take a log: as it is now, or at its end."""
