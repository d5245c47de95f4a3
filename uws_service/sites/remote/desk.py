"""The desk at which the runner of a site calls.

It takes orders there that the site's executor has left, and leaves what it sees. Both are rows of the database, so the
runner may call any process of the service, whichever drives the site.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from uws_service.auth.tokens import Tokens
from uws_service.depot import Stored
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import AttemptState, Observation, Reason, Seen
from uws_service.domain.errors import AuthenticationRequired, Forbidden, NotFound, UsageError
from uws_service.domain.runner import RunnerSession
from uws_service.sites.agent_api import Agents
from uws_service.sites.attempt_tokens import started
from uws_service.sites.executor import LIVE_LOG_BYTES, live_key
from uws_service.sites.remote import messages
from uws_service.sites.remote.keys import is_key
from uws_service.sites.remote.messages import Key, Reported
from uws_service.sites.remote.settings import RemoteSite
from uws_service.store import Store
from uws_service.store.runners import RunnerReport, Session

log = structlog.get_logger(__name__)

SITE_VOICE = "site"
"""The runner's own name where it speaks for an attempt: its site's agents do not call by themselves."""
LOOK_SECONDS = 0.5
"""Pause between two looks for orders that another process has left."""
READERS_SECONDS = 1.0
"""While somebody reads a log the runner is told so at most every so many seconds."""
READERS_MAX = 50
LOG_MAX_BYTES = 128 * 1024 * 1024
HEARTBEAT_SECONDS = 1
"""Stands for what an agent has promised with its claim, where only whether it did counts."""
_VOICE = re.compile(r"[A-Za-z0-9-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Desk:
    """What one site and its runner leave for each other.

    Parameters
    ----------
    site
        The site's settings.
    store
        Where orders and reports are.
    """

    def __init__(self, site: RemoteSite, store: Store) -> None:
        self.site = site
        self.store = store
        self.ordered = asyncio.Event()
        """Set when this process has left an order."""
        self.reported = asyncio.Event()
        """Set when the runner has reported to this process."""


class Runners:
    """All that runners can ask, over one store.

    Parameters
    ----------
    desks
        Those of the sites that only call out, by site.
    agents
        What agents may ask, by way of their site's runner.
    tokens
        Verifies tokens of issuers; None: runners have keys alone.
    """

    def __init__(self, desks: Mapping[str, Desk], agents: Agents, tokens: Tokens | None) -> None:
        self.desks = desks
        self.agents = agents
        self.store = agents.store
        self.depot = agents.depot
        self.tokens = tokens
        self.is_draining = False

    def drain(self) -> None:
        """Answer every runner that waits.

        The process is about to end.
        """
        self.is_draining = True
        for desk in self.desks.values():
            desk.ordered.set()

    async def admit(self, site: str, token: str, origin: str) -> None:
        """Raise unless a token is that of the site's runner.

        Whether there is such a site is told to nobody else.

        Raises
        ------
        AuthenticationRequired
            It is neither a key of the site nor a valid token of a client that speaks for it. A runner keeps its results
            then, while 403 means that an attempt's results are not wanted.
        """
        desk = self.desks.get(site)
        settings = desk.site if desk is not None else None
        if is_key(token, settings.keys if settings is not None else ()):
            return
        if self.tokens is None or token.count(".") != 2:
            log.warning("a runner was refused", site=site[:64], origin=origin)
            raise AuthenticationRequired("This is no key of the runner of this site.")
        identity, _ = await self.tokens.verify(token, address=origin)
        if settings is None or identity.owner not in settings.clients:
            log.warning("a runner was refused", site=site[:64], origin=origin, client=identity.owner)
            raise AuthenticationRequired(f"{identity.owner} does not speak for this site.")

    async def open(self, site: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a session.

        Raises
        ------
        UsageError
            The runner is of another version.
        Forbidden
            Another runner speaks for the site.
        """
        desk, hello = self.desks[site], messages.hello_of(content)
        session = Session(hello.runner, hello.host, hello.bound, hello.announced())
        state = await self.store.runners.open(site, session, _lease_ms(), desk.site.lost_after * 1000)
        if isinstance(state, str):
            log.warning("a second runner was refused", site=site, host=hello.host, why=state)
            raise Forbidden(f"The site {site} has a runner: {state}.")
        log.info("a runner speaks for the site", site=site, host=hello.host, kind=hello.kind, epoch=state.epoch)
        desk.reported.set()
        fetch = self.agents.fetch
        return {
            "protocol": messages.PROTOCOL,
            "instance": await self.store.name(),
            "epoch": state.epoch,
            "lease": messages.LEASE_SECONDS,
            "lost_after": desk.site.lost_after,
            "data": self.agents.data is not None,
            "fetch": {
                "allow_private": fetch.allow_private,
                "allow_hosts": list(fetch.allow_hosts),
                "timeout": fetch.timeout,
            },
        }

    async def require(self, session: RunnerSession) -> None:
        """Raise `Fenced` if a session is over.

        Else it goes on.
        """
        await self.store.runners.renew(session.site, session.runner, session.epoch, _lease_ms())

    async def close(self, session: RunnerSession) -> None:
        """End a session."""
        await self.store.runners.release(session.site, session.runner, session.epoch)
        self.desks[session.site].reported.set()

    # -- orders and reports ----------------------------------------------------------------------------------------

    async def orders(self, session: RunnerSession, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the open orders after a number, once there are any; nothing when the time is over."""
        after, wait = content.get("after", 0), content.get("wait", 0)
        if type(after) is not int or not 0 <= after <= messages.NUMBER_MAX or not isinstance(wait, int | float):
            raise UsageError("after and wait: must be numbers.")
        await self.require(session)
        desk = self.desks[session.site]
        began = time.monotonic()
        end = began + min(max(0.0, wait), messages.POLL_SECONDS)
        while True:
            desk.ordered.clear()
            orders = await self.store.runners.orders(session.site, after, messages.PAGE)
            readers = await self.store.runners.readers(session.site, _now_ms(), READERS_MAX)
            now = time.monotonic()
            if orders or now >= end or self.is_draining or (readers and now - began >= READERS_SECONDS):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(desk.ordered.wait(), min(LOOK_SECONDS, end - now))
        listed = [
            {
                "job": order.job_id,
                "attempt": order.number,
                "do": order.verb,
                "order": order.order,
                "launch": _redacted(order.launch) if order.launch is not None else None,
            }
            for order in orders
        ]
        return {"orders": listed, "logs": [list(key) for key in readers]}

    async def report(self, session: RunnerSession, content: Mapping[str, Any]) -> dict[str, Any]:
        """Record a report.

        Return attempts that it names and nobody has sent there.
        """
        report = messages.report_of(content)
        reports = {key: messages.stored_text(reported) for key, reported in report.reported.items()}
        for key, words in report.refused.items():
            refusal = Observation(*key, Seen.FAILED, reason=Reason.REFUSED, message=words)
            reports[key] = messages.stored_text(Reported(refusal, messages.Handed()))
        record = RunnerReport(report.sequence, report.done, reports, report.absent, report.present, report.problem)
        foreign = await self.store.runners.report(session.site, session.runner, session.epoch, record, _lease_ms())
        for key in report.speaks:
            if await self._is_here(session.site, key):
                await self.store.attempts.claim(*key, SITE_VOICE)
        self.desks[session.site].reported.set()
        return {"foreign": [list(key) for key in foreign]}

    async def _is_here(self, site: str, key: Key) -> bool:
        attempts = await self.store.attempts.of(key[0])
        return any(attempt.number == key[1] and attempt.site == site for attempt in attempts)

    # -- files -----------------------------------------------------------------------------------------------------

    async def agent(self, session: RunnerSession, job_id: str, number: int, voice: str) -> AgentIdentity:
        """Return the agent for which a runner speaks.

        It can only be one of its own site. One that has claimed its attempt and is alive until some instant runs the
        command itself.
        """
        if not _VOICE.fullmatch(voice):
            raise UsageError("The name of an agent has at most 64 letters, digits and hyphens.")
        key = messages.key_of({"job": job_id, "attempt": number})
        agent = AgentIdentity(frozenset({session.site}), *key, voice)
        for attempt in await self.store.attempts.of(job_id):
            if attempt.number == number and attempt.claimed == voice and attempt.alive_until:
                return replace(agent, heartbeat=HEARTBEAT_SECONDS)
        return agent

    def beginning(self, agent: AgentIdentity, start: Mapping[str, Any]) -> AgentIdentity:
        """Return an agent with the heartbeat that it promises, if it runs the command itself.

        Raises
        ------
        UsageError
            It promises something else than a number of seconds, or has no uid of such an agent.
        """
        return started(agent, {**start, "uid": agent.uid}) if start.get("heartbeat") is not None else agent

    async def read_input(
        self, session: RunnerSession, job_id: str, number: int, index: int
    ) -> tuple[int, AsyncIterator[bytes]]:
        """Return size and content of an input that the depot has."""
        key = messages.key_of({"job": job_id, "attempt": number})
        await self._require_open(session.site, key)
        launch = await self.store.runners.launch(session.site, key)
        inputs: Sequence[Mapping[str, Any]] = json.loads(launch)["inputs"] if launch is not None else ()
        depot_key = inputs[index].get("depot_key") if 0 <= index < len(inputs) else None
        if depot_key is None:
            raise NotFound(f"There is no input {index} in the depot for this attempt.")
        stored = await self.depot.head(depot_key)
        if stored is None:
            raise NotFound(f"{inputs[index]['name']}: the uploaded file is no longer there.")
        return stored.size, self.depot.read(depot_key)

    async def data(self, session: RunnerSession, job_id: str, number: int) -> dict[str, Any]:
        """Return the tokens for an attempt's data.

        None once it has ended.
        """
        await self._require_open(session.site, messages.key_of({"job": job_id, "attempt": number}))
        if self.agents.data is None:
            return {"tokens": {}, "command": None}
        return await self.agents.data.held(job_id)

    async def put_log(
        self, session: RunnerSession, job_id: str, number: int, name: str, chunks: AsyncIterator[bytes], size: int,
        sha256: str, *, live: bool,
    ) -> None:  # fmt: skip
        """Take a log: as it is now, or at its end."""
        key = messages.key_of({"job": job_id, "attempt": number})
        if name not in ("stdout", "stderr") or not _SHA256.fullmatch(sha256):
            raise UsageError("A log is stdout or stderr, with the SHA-256 of its bytes.")
        await self._require_open(session.site, key)
        target = live_key(*key, name) if live else handed_key(key, name)
        limit = LIVE_LOG_BYTES if live else LOG_MAX_BYTES
        await self.depot.put(target, chunks, max_size=min(limit, size), expected=Stored(size, sha256))

    async def _require_open(self, site: str, key: Key) -> None:
        for attempt in await self.store.attempts.of(key[0]):
            if attempt.number == key[1] and attempt.site == site and attempt.state is not AttemptState.CLOSED:
                return
        raise Forbidden("This attempt has ended, was given up, or is none of this site.")


def handed_key(key: Key, name: str) -> str:
    """Return where a log lies that a runner has handed over, until its attempt's end is recorded."""
    return f"jobs/{key[0]}/site/{key[1]}/{name}"


def _redacted(text: str) -> dict[str, Any]:
    """Return a launch without the depot's own names.

    A runner asks for an input by its number.
    """
    launch: dict[str, Any] = json.loads(text)
    launch["inputs"] = [item | {"depot_key": "depot" if item.get("depot_key") else None} for item in launch["inputs"]]
    return launch


def _lease_ms() -> int:
    return int(messages.LEASE_SECONDS * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


__all__ = ["SITE_VOICE", "Desk", "Runners", "handed_key"]
