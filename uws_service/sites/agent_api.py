"""What agents may ask of the service.

They get their attempt's inputs, and hand over progress, results and a report.

The last pod to claim an attempt speaks for it. What it hands over lies under a key of its own until the controller
records the report, so an attempt that was given up can't touch the results of the one that took its place: fencing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import structlog

from uws_service.agent import folder as layout
from uws_service.applications import Application
from uws_service.auth.data_tokens import DataAccess, tell_waiting
from uws_service.data.replicas import Storage, bind
from uws_service.depot import Depot, Stored
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import Attempt, AttemptState, Launch
from uws_service.domain.errors import (
    AuthenticationRequired,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    StorageFull,
    TooLarge,
    UwsError,
)
from uws_service.domain.events import EventKind
from uws_service.domain.ids import now_ms
from uws_service.domain.job import Phase
from uws_service.sites.agent_reports import LOGS, OUTPUTS_MAX, log_key, number, output_key, parse_report
from uws_service.sites.attempt_tokens import RENEWAL_SECONDS, AttemptTokens, started
from uws_service.sites.executor import LIVE_LOG_BYTES, live_key
from uws_service.sites.kind import AgentVerifier, UnknownToken
from uws_service.sites.launches import launch_of
from uws_service.sites.settings import Fetch
from uws_service.store import StaleJob, Store

log = structlog.get_logger(__name__)

ALIVE_BEATS = 3
"""So many signs of life may fail to come before an agent counts as dead."""
NOTICE_SECONDS = 4.0
"""After this time without an end it is asked whether the depot still answers."""


class Agents:
    """All that agents can ask, over one store."""

    def __init__(
        self,
        store: Store,
        depot: Depot,
        applications: Mapping[str, Application],
        fetch: Fetch,
        data: DataAccess | None = None,
        verifiers: Sequence[AgentVerifier] = (),
        tokens: AttemptTokens | None = None,
        storage: Mapping[str, Sequence[Storage]] | None = None,
    ) -> None:
        self.storage = storage or {}
        """The storage areas of each site."""
        self.store = store
        self.depot = depot
        self.applications = applications
        self.fetch = fetch
        self.data = data
        self.tokens = tokens
        self.verifiers: tuple[AgentVerifier, ...] = (*verifiers, *((tokens,) if tokens is not None else ()))

    async def identify(self, token: str) -> AgentIdentity:
        """Return the agent that shows a token.

        Raises
        ------
        AuthenticationRequired
            No kind of site knows it.
        ServiceUnavailable
            A kind of site that may know it can't say so now.
        """
        refusals: list[UwsError] = []
        for verifier in self.verifiers:
            try:
                return await verifier.verify(token)
            except (ServiceUnavailable, AuthenticationRequired) as error:
                refusals.append(error)
        # Who may know it later has the first word, then who knows this kind of token.
        refusals.sort(key=lambda error: (not isinstance(error, ServiceUnavailable), isinstance(error, UnknownToken)))
        raise refusals[0] if refusals else AuthenticationRequired("No agents show tokens to this service.")

    async def renew(self, agent: AgentIdentity) -> dict[str, Any]:
        """Return a fresh token, as JSON values.

        Only for an agent whose attempt is open.

        Raises
        ------
        Forbidden
            The attempt is closed, another agent speaks for it, or the agent's token is none of this service's.
        """
        attempt = await self._attempt(agent)
        if self.tokens is None or not agent.renewable:
            raise Forbidden("This token is not renewed by this service.")
        if attempt.state is AttemptState.CLOSED:
            raise Forbidden("This attempt has ended or was given up.")
        if attempt.claimed:
            _require_voice(attempt, agent)
        if not agent.heartbeat:
            return {"token": self.tokens.renew(agent), "renew_after": RENEWAL_SECONDS}
        if not await self.store.attempts.alive(agent.job_id, agent.number, agent.uid, _alive_until(agent)):
            raise Forbidden("This attempt has ended or was given up.")
        return {"token": self.tokens.renew(agent), "renew_after": agent.heartbeat}

    async def claim(self, agent: AgentIdentity, start: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Let this agent speak for its attempt.

        What it needs to know, as JSON values. ``start`` is what an agent with a ticket says of itself: its ``uid`` and
        its ``heartbeat``. It gets a token in exchange, and the ticket is of no use to anybody else from then on.

        Raises
        ------
        Forbidden
            The attempt is not wanted any more, or belongs to another site.
        ServiceUnavailable
            Another pod of it counts as running, or its access to data can't be renewed now; ask again.
        """
        if agent.ticket:
            agent = started(agent, start or {})
        attempt, plan = await self._plan(agent)
        plan = await asyncio.to_thread(bind, plan, self.storage.get(attempt.site, ()))
        if agent.heartbeat:
            await self._claim_once(agent)
        else:
            await self._claim_in_turn(agent, attempt)
        return {
            **(self._instructions(agent, plan) if agent.heartbeat else {}),
            "renew_after": agent.heartbeat or (RENEWAL_SECONDS if agent.renewable else None),
            "data": await self._data(agent.job_id),
            "inputs": [
                {key: value for key, value in asdict(item).items() if key != "depot_key"} for item in plan.inputs
            ],
            "away": list(plan.away),
            "parameters": plan.parameters,
            "results": [asdict(result) for result in plan.results],
            "max_output": plan.max_output,
            "fetch": {
                "allow_private": self.fetch.allow_private,
                "allow_hosts": list(self.fetch.allow_hosts),
                "timeout": self.fetch.timeout,
            },
        }

    async def _claim_in_turn(self, agent: AgentIdentity, attempt: Attempt) -> None:
        """Let the newest pod of an attempt speak for it."""
        job = await self.store.get(agent.job_id)
        running = job is not None and job.phase in (Phase.EXECUTING, Phase.UNKNOWN)
        if running and attempt.claimed not in ("", agent.uid):
            # Its earlier pod may have ended by itself; whether this one may begin is seen once the site was looked at.
            raise ServiceUnavailable("Another pod of this attempt counts as running.", retry_after=1)
        if not await self.store.attempts.claim(agent.job_id, agent.number, agent.uid):
            raise Forbidden("This attempt has ended or was given up.")

    async def _claim_once(self, agent: AgentIdentity) -> None:
        """Let the first start of an agent speak for an attempt, and no other ever."""
        if not await self.store.attempts.claim_once(agent.job_id, agent.number, agent.uid, _alive_until(agent)):
            raise Forbidden("This attempt is not wanted any more, or another start of it was claimed.")

    def _instructions(self, agent: AgentIdentity, plan: Launch) -> dict[str, Any]:
        """Return what an agent needs that runs the command itself."""
        if self.tokens is None:
            raise Forbidden("This service issues no tokens for agents.")
        names = ("job_id", "command", "environment", "duration", "memory", "disk", "passed", "token_variable", "mounts")
        return {"token": self.tokens.renew(agent), "run": {name: getattr(plan, name) for name in names}}

    async def _data(self, job_id: str) -> dict[str, Any]:
        """Return the tokens for the attempt's data.

        Why there are none now stands in jobInfo.
        """
        if self.data is None:
            return {"tokens": {}, "command": None}
        try:
            return await self.data.held(job_id)
        except ServiceUnavailable as error:
            await tell_waiting(self.store, job_id, error.message)
            raise
        except Forbidden as error:
            return {"tokens": {}, "command": None, "problem": error.message}

    async def read_input(self, agent: AgentIdentity, index: int) -> tuple[int, AsyncIterator[bytes]]:
        """Return size and content of an input that the depot has."""
        attempt, plan = await self._plan(agent)
        _require_voice(attempt, agent)
        if not 0 <= index < len(plan.inputs) or plan.inputs[index].depot_key is None:
            raise NotFound(f"There is no input {index} in the depot for this attempt.")
        key = str(plan.inputs[index].depot_key)
        stored = await self.depot.head(key)
        if stored is None:
            raise NotFound(f"{plan.inputs[index].name}: the uploaded file is no longer there.")
        return stored.size, self.depot.read(key)

    async def put_output(
        self, agent: AgentIdentity, result_id: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take one output.

        What does not have the announced size and digest is refused, and never lies in the depot.

        Its key holds its digest: whoever names both in a report names these very bytes. Earlier versions of it go.
        """
        attempt, plan = await self._plan(agent)
        _require_voice(attempt, agent)
        await self._put(agent, plan, output_key(agent, result_id, sha256), chunks, Stored(size, sha256))

    async def put_log(
        self, agent: AgentIdentity, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take stdout or stderr of the command, from an agent that ran it."""
        attempt, plan = await self._plan(agent)
        _require_voice(attempt, agent)
        if name not in LOGS or not agent.heartbeat:
            raise NotFound(f"There is no log {name[:64]!r} to hand over.")
        await self._put(agent, plan, log_key(agent, name, sha256), chunks, Stored(size, sha256))

    async def put_live_log(
        self, agent: AgentIdentity, name: str, chunks: AsyncIterator[bytes], size: int, sha256: str
    ) -> None:
        """Take the end of a log as it is now, from an agent that runs the command itself."""
        attempt, _ = await self._plan(agent)
        _require_voice(attempt, agent)
        if name not in LOGS or not agent.heartbeat:
            raise NotFound(f"There is no log {name[:64]!r} to hand over.")
        if size > LIVE_LOG_BYTES:
            raise TooLarge(f"At most {LIVE_LOG_BYTES} bytes of a log are taken while its command runs.")
        key = live_key(agent.job_id, agent.number, name)
        await self.depot.put(key, chunks, max_size=size, expected=Stored(size, sha256))

    async def _put(
        self, agent: AgentIdentity, plan: Launch, key: str, chunks: AsyncIterator[bytes], expected: Stored
    ) -> None:
        size, name = expected.size, key.rpartition("/")[2]
        # Those that are there now: a request that ends late removes nothing that came after it began.
        stored = [entry async for entry in self.depot.list_sizes(f"{agent.folder}/")]
        earlier_keys = [path for path, _ in stored if path.rpartition("/")[2] == name]
        if len(stored) - len(earlier_keys) >= OUTPUTS_MAX:
            raise TooLarge(f"There are {OUTPUTS_MAX} outputs of this attempt; more are not taken.")
        # Files that the command has removed or renamed since they were handed over may be among them: twice the limit.
        total = sum(others for path, others in stored if path not in earlier_keys)
        room = min(plan.max_output, 2 * plan.max_output - total) if plan.max_output else size
        work = self.depot.put(key, chunks, max_size=max(room, 0), expected=expected)
        putting = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait((putting,), timeout=NOTICE_SECONDS))[0]:
                if problem := self.depot.notice():
                    await tell_waiting(self.store, agent.job_id, problem, begun=True)
            await putting
        except (ServiceUnavailable, StorageFull) as error:
            log.warning("a result can't be stored", job=agent.job_id, attempt=agent.number, error=error.message)
            words = f"its files can't be stored now: {error.message}"
            await tell_waiting(self.store, agent.job_id, words, begun=True)
            raise
        finally:
            putting.cancel()
        for earlier_key in earlier_keys:
            if earlier_key != key:
                await self.depot.delete(earlier_key)

    async def progress(self, agent: AgentIdentity, fraction: float, text: str) -> None:
        """Put the command's own words into jobInfo.

        In vain if the job has moved on.
        """
        attempt = await self._attempt(agent)
        _require_voice(attempt, agent)
        for _ in range(5):
            job = await self.store.get(agent.job_id)
            if job is None or job.phase not in (Phase.QUEUED, Phase.EXECUTING):
                return
            info = replace(job.info, progress=min(1.0, max(0.0, fraction)), message=layout.clean(text, 200))
            try:
                await self.store.save(job, replace(job, info=info), kind=EventKind.INFO, actor="agent")
                return
            except StaleJob:
                continue

    async def report(self, agent: AgentIdentity, content: Mapping[str, Any]) -> None:
        """Record an agent's last word.

        Raises
        ------
        UsageError
            It makes no sense, or names what was not handed over.
        Forbidden
            The attempt was given up, or another pod speaks for it: nothing of it is recorded but what was used. For a
            command that fails is known to have failed before its agent has said anything.
        """
        try:
            attempt, plan = await self._plan(agent)
        except Forbidden:
            cpu, memory = float(number(content, "cpu")), int(number(content, "peak_memory"))
            await self.store.attempts.late_usage(agent.job_id, agent.number, agent.uid, cpu, memory)
            raise
        _require_voice(attempt, agent)
        report = await parse_report(self.depot, agent, plan, content)
        if not await self.store.attempts.report(agent.job_id, agent.number, agent.uid, report):
            raise Forbidden("This attempt was given up, or another pod speaks for it now.")

    async def _attempt(self, agent: AgentIdentity) -> Attempt:
        if agent.ticket:
            raise Forbidden("A ticket is good for a claim alone.")
        for attempt in await self.store.attempts.of(agent.job_id):
            if attempt.number == agent.number and attempt.site in agent.sites:
                return attempt
        raise Forbidden("There is no such attempt at this site.")

    async def _plan(self, agent: AgentIdentity) -> tuple[Attempt, Launch]:
        """Return the attempt and what it runs.

        Both come from the store: the agent's words are never taken for it.
        """
        attempt = await self._attempt(agent)
        job = await self.store.get(agent.job_id)
        if job is None or attempt.state is AttemptState.CLOSED:
            raise Forbidden("This attempt has ended or was given up.")
        try:
            return attempt, await launch_of(self.store, self.applications, job, attempt)
        except NotFound as error:
            raise Forbidden(error.message) from None


def _require_voice(attempt: Attempt, agent: AgentIdentity) -> None:
    if attempt.claimed != agent.uid:
        raise Forbidden("Another pod speaks for this attempt now.")
    if attempt.state is AttemptState.CLOSED:
        raise Forbidden("This attempt has ended or was given up.")


def _alive_until(agent: AgentIdentity) -> int:
    """Return until when an agent counts as alive that was heard now."""
    return now_ms() + ALIVE_BEATS * agent.heartbeat * 1000
