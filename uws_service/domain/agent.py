"""Agents and what they may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """The agent of an attempt, named by its token."""

    sites: frozenset[str]
    """The sites that it may belong to: several when they share a namespace."""
    job_id: str
    number: int
    uid: str
    """Of its pod or process: an attempt may have several after another, of which one speaks for it."""
    renewable: bool = False
    """Whether its token is one of this service's, which the agent must renew itself."""
    heartbeat: int = 0
    """Seconds between two signs of life of an agent that runs the command itself; 0: somebody else runs it."""
    ticket: bool = False
    """Whether it shows a ticket: good for one claim, which exchanges it for a token."""

    @property
    def folder(self) -> str:
        """Return the depot's folder for its outputs."""
        return f"jobs/{self.job_id}/attempts/{self.number}-{self.uid}"


class AgentApi(Protocol):
    """What agents may ask."""

    async def identify(self, token: str) -> AgentIdentity:
        """Return a token's agent, or raise `AuthenticationRequired`."""

    async def claim(self, agent: AgentIdentity, start: Mapping[str, Any]) -> dict[str, Any]:
        """Let an agent speak for its attempt.

        ``start`` is what one with a ticket says of itself.

        Returns what it needs to know, as JSON values.
        """

    async def renew(self, agent: AgentIdentity) -> dict[str, Any]:
        """Return a fresh token for an agent whose attempt is open, as JSON values."""

    async def read_input(self, agent: AgentIdentity, index: int) -> tuple[int, AsyncIterator[bytes]]:
        """Return size and content of an input."""

    async def put_output(
        self, agent: AgentIdentity, result_id: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take one output."""

    async def put_log(
        self, agent: AgentIdentity, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take stdout or stderr of the command."""

    async def put_live_log(
        self, agent: AgentIdentity, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take the end of stdout or stderr while the command runs."""

    async def progress(self, agent: AgentIdentity, fraction: float, text: str) -> None:
        """Put the command's own words into jobInfo."""

    async def report(self, agent: AgentIdentity, content: Mapping[str, Any]) -> None:
        """Record an agent's report."""
