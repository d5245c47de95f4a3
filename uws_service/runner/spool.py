"""What agents have handed over while the service could not be called: on disk, checked, and bounded.

An output lies below its attempt, its agent and its digest, so a restart finds everything again. It goes to the service
before the report that names it, and both go with their attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from uws_service.depot import Depot, Stored
from uws_service.domain.errors import NotFound, StorageFull, UsageError, UwsError
from uws_service.runner.link import Link, LinkDown, Refusal, SessionOver, attempt_path, pause
from uws_service.sites.remote.messages import Key

log = structlog.get_logger(__name__)

ROOT = "relay/"
REPORT = "report.json"
REPORT_BYTES = 1024 * 1024
RETRY_SECONDS = 2.0
FULL_SECONDS = 30
_NAME = re.compile(r"[A-Za-z0-9._-]{1,220}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(
    r"relay/([0-9a-f]{32})-(\d{1,4})/([A-Za-z0-9-]{1,64})/(?:([0-9a-f]{64})/(=?[A-Za-z0-9._-]{1,220})|report\.json)"
)
LOG_MARK = "="
"""Begins the name of a log: no output has such a name."""
LOGS = frozenset({"stdout", "stderr"})


class Voice(NamedTuple):
    """An agent: its attempt, and the id of its pod or process."""

    key: Key
    uid: str

    @property
    def folder(self) -> str:
        """Return where its files lie in the depot on the runner's disk."""
        return f"{_folder(self.key)}{self.uid}/"

    def path(self, rest: str) -> str:
        """Return the path of something of this agent at the service."""
        return attempt_path(self.key, f"agents/{self.uid}/{rest}")


@dataclass(slots=True)
class Pending:
    """What of one agent the service does not have yet."""

    outputs: dict[str, Stored] = field(default_factory=dict)
    has_report: bool = False
    problem: str = ""
    """Why the service did not take an output."""


class Spool:
    """Keeps outputs and reports of agents, and hands them over.

    Parameters
    ----------
    depot
        The depot on the runner's disk.
    link
        The way to the service.
    limit
        Most bytes of outputs.
    """

    def __init__(self, depot: Depot, link: Link, limit: int) -> None:
        self.depot = depot
        self.link = link
        self.limit = limit
        self.change = asyncio.Event()
        """Set when something was handed over."""
        self._pending: dict[Voice, Pending] = {}
        self._arriving = 0
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Find again what an earlier runner has kept.

        Drafts are removed.
        """
        async for path, size in self.depot.list_sizes(ROOT):
            match = _PATH.fullmatch(path)
            if match is None:
                await self.depot.delete(path)
                continue
            pending = self._pending.setdefault(Voice((match[1], int(match[2])), match[3]), Pending())
            if match[4]:
                pending.outputs[match[5]] = Stored(size, match[4])
            else:
                pending.has_report = True
        self._wake.set()

    def has(self, key: Key) -> bool:
        """Return whether anything of an attempt is here."""
        return any(voice.key == key for voice in self._pending)

    def has_outputs(self, voice: Voice) -> bool:
        """Return whether outputs of an agent are here."""
        pending = self._pending.get(voice)
        return pending is not None and bool(pending.outputs)

    def used(self) -> int:
        """Return the bytes of all outputs that are here or arrive now."""
        sizes = sum(stored.size for pending in self._pending.values() for stored in pending.outputs.values())
        return sizes + self._arriving

    async def put_output(
        self, voice: Voice, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str, room: int
    ) -> None:
        """Keep an output, of at most ``room`` bytes.

        What has not the announced digest is refused.

        Raises
        ------
        UsageError, TooLarge
            It can't be an output, or is none as it was announced.
        StorageFull
            There is no room for it now: the agent tries again.
        """
        if not _NAME.fullmatch(name) or not name.strip(".") or not _SHA256.fullmatch(sha256):
            raise UsageError("An output has a name of letters, digits, dots, hyphens, and a SHA-256.")
        if self.used() + size > self.limit:
            raise StorageFull("The runner's disk has no room for more results now.", retry_after=FULL_SECONDS)
        await self._put(voice, name, chunks, size, sha256, room)

    async def put_log(
        self, voice: Voice, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str, limit: int
    ) -> str:
        """Keep a log of a command, of at most ``limit`` bytes; return the name under which it is kept.

        Raises
        ------
        UsageError, TooLarge, StorageFull
            As for an output.
        """
        if name not in LOGS or not _SHA256.fullmatch(sha256):
            raise UsageError("A log is stdout or stderr, with the SHA-256 of its bytes.")
        if self.used() + size > self.limit:
            raise StorageFull("The runner's disk has no room for more results now.", retry_after=FULL_SECONDS)
        await self._put(voice, LOG_MARK + name, chunks, size, sha256, limit)
        return LOG_MARK + name

    async def _put(
        self, voice: Voice, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str, room: int
    ) -> None:
        self._arriving += size
        try:
            await self.depot.put(
                f"{voice.folder}{sha256}/{name}", chunks, max_size=min(size, room), expected=Stored(size, sha256)
            )
            pending = self._pending.setdefault(voice, Pending())
            earlier = pending.outputs.get(name)
            pending.outputs[name] = Stored(size, sha256)
            if earlier is not None and earlier.sha256 != sha256:
                await self.depot.delete(f"{voice.folder}{earlier.sha256}/{name}")
        finally:
            self._arriving -= size

    async def put_report(self, voice: Voice, report: Mapping[str, Any]) -> None:
        """Keep an agent's report until its outputs are handed over."""
        content = json.dumps(report).encode()
        await self.depot.put(f"{voice.folder}{REPORT}", _single(content), max_size=REPORT_BYTES)
        self._pending.setdefault(voice, Pending()).has_report = True
        self._wake.set()

    async def drop(self, key: Key) -> None:
        """Remove everything of an attempt."""
        for voice in [voice for voice in self._pending if voice.key == key]:
            del self._pending[voice]
        await self.depot.delete_prefix(_folder(key))

    # -- hand over -------------------------------------------------------------------------------------------------

    async def send_output(self, voice: Voice, name: str) -> None:
        """Hand one output over, and remove it here.

        Raises
        ------
        LinkDown, SessionOver
            Not now: it stays here.
        Refusal
            The service does not take it; it is removed.
        """
        pending = self._pending.get(voice)
        stored = pending.outputs.get(name) if pending is not None else None
        if pending is None or stored is None:
            return
        path = f"{voice.folder}{stored.sha256}/{name}"
        try:
            kind = f"logs/{name.removeprefix(LOG_MARK)}" if name.startswith(LOG_MARK) else f"outputs/{name}"
            await self.link.put(voice.path(kind), self.depot.read(path), stored.size, stored.sha256)
        except NotFound:
            log.warning("an output is lost", job=voice.key[0], attempt=voice.key[1], output=name)
            pending.problem = pending.problem or f"{name} was lost at the site"
        except Refusal as error:
            pending.problem = pending.problem or f"{name}: {error.message}"
            self._settle(voice, pending, name, stored)
            await self.depot.delete(path)
            raise
        self._settle(voice, pending, name, stored)
        await self.depot.delete(path)

    def _settle(self, voice: Voice, pending: Pending, name: str, stored: Stored) -> None:
        if pending.outputs.get(name) == stored:
            del pending.outputs[name]
        if not pending.outputs and not pending.has_report and self._pending.get(voice) is pending:
            del self._pending[voice]

    async def run(self) -> None:
        """Hand over what is here, until cancelled."""
        while True:
            self._wake.clear()
            try:
                for voice in list(self._pending):
                    await self._send_all(voice)
            except (LinkDown, SessionOver) as error:
                log.debug("results wait for the service", error=error.message)
            except UwsError as error:
                log.warning("results can't be handed over yet", error=error.message)
            await pause(RETRY_SECONDS, self._wake)

    async def _send_all(self, voice: Voice) -> None:
        """Hand over an agent's outputs, then its report."""
        pending = self._pending.get(voice)
        for name in list(pending.outputs) if pending is not None else ():
            with contextlib.suppress(Refusal):  # the report says so
                await self.send_output(voice, name)
        pending = self._pending.get(voice)
        if pending is None or pending.outputs or not pending.has_report:
            return
        content = b""
        async for chunk in self.depot.read(f"{voice.folder}{REPORT}"):
            content += chunk
        report = json.loads(content)
        if pending.problem:
            report |= {"outputs": [], "reason": "StageOut", "message": pending.problem}
        try:
            await self.link.post(voice.path("report"), report)
            log.info("results were handed over", job=voice.key[0], attempt=voice.key[1])
        except Refusal as error:
            log.warning("the service does not want results", job=voice.key[0], attempt=voice.key[1], why=error.message)
        self._pending.pop(voice, None)
        await self.depot.delete_prefix(voice.folder)
        self.change.set()


def _folder(key: Key) -> str:
    return f"{ROOT}{key[0]}-{key[1]}/"


async def _single(content: bytes) -> AsyncIterator[bytes]:
    yield content
