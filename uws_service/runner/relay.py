"""Where agents at the site call instead of the service: their resources alone, and no others.

An agent shows what its site gave it, such as its pod's token, which is verified here; the runner then speaks for it.
What can wait is kept on disk while the service can't be called.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from uws_service.depot import Stored
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, Forbidden, UsageError, UwsError
from uws_service.request_bodies import announced, chunks_of, json_of
from uws_service.runner.link import Link, LinkDown, SessionOver
from uws_service.runner.spool import LOGS, Spool, Voice
from uws_service.sites.attempt_tokens import AttemptTokens, started
from uws_service.sites.executor import LIVE_LOG_BYTES, live_key
from uws_service.sites.kind import AgentVerifier

log = structlog.get_logger(__name__)

RETRY_SECONDS = "2"
LOG_MAX_BYTES = 128 * 1024 * 1024


class Relay:
    """Answers the agents of one site.

    Parameters
    ----------
    site
        The site's name.
    link
        The way to the service.
    spool
        Keeps what can't be handed over now.
    verifier
        Verifies the agents' tokens.
    is_secure
        Whether nobody can read what it answers on its way: else it passes no tokens for data on.
    tokens
        Those of this runner, for agents that begin with a ticket of it; None: the site gives agents their own.
    """

    def __init__(
        self,
        site: str,
        link: Link,
        spool: Spool,
        verifier: AgentVerifier,
        *,
        is_secure: bool,
        tokens: AttemptTokens | None = None,
    ) -> None:
        self.site = site
        self.link = link
        self.spool = spool
        self.verifier = verifier
        self.is_secure = is_secure
        self.tokens = tokens
        self._room: dict[Voice, int] = {}
        """Most bytes of an agent's outputs."""

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/agent/v1/claim", self.claim, methods=["POST"]),
            Route("/agent/v1/token", self.renew, methods=["POST"]),
            Route("/agent/v1/inputs/{index:int}", self.read_input, methods=["GET"]),
            Route("/agent/v1/outputs/{name}", self.put_output, methods=["PUT"]),
            Route("/agent/v1/logs/{name}", self.put_log, methods=["PUT"]),
            Route("/agent/v1/live/{name}", self.put_live_log, methods=["PUT"]),
            Route("/agent/v1/progress", self.progress, methods=["POST"]),
            Route("/agent/v1/report", self.report, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={UwsError: _answer, ClientDisconnect: _answer_nobody})

    async def claim(self, request: Request) -> Response:
        """Pass a claim on."""
        agent = await self._agent(request)
        if agent.ticket:
            agent = started(agent, await json_of(request))
        voice = _voice_of(agent)
        instructions = await self.link.post(voice.path("claim"), _promise(agent))
        instructions["renew_after"] = agent.heartbeat or None  # else the token is the site's own
        if agent.heartbeat and self.tokens is not None:
            instructions["token"] = self.tokens.renew(agent)
        data = instructions.get("data") or {}
        if not self.is_secure and (data.get("tokens") or data.get("command")):
            instructions["data"] = {
                "tokens": {},
                "command": None,
                "problem": "The job's access to data is not passed on: the site's relay has no certificate.",
            }
        self._room[voice] = int(instructions.get("max_output") or 0)
        return JSONResponse(instructions, headers={"cache-control": "no-store"})

    async def renew(self, request: Request) -> Response:
        """Give an agent that runs the command itself a fresh token, and tell the service that it lives.

        While the link is cut its command goes on.
        """
        agent = await self._agent(request)
        if self.tokens is None or not agent.heartbeat:
            raise Forbidden("This token is not renewed here.")
        with contextlib.suppress(LinkDown, SessionOver):
            await self.link.post(_voice_of(agent).path("heartbeat"), _promise(agent))
        fresh = {"token": self.tokens.renew(agent), "renew_after": agent.heartbeat}
        return JSONResponse(fresh, headers={"cache-control": "no-store"})

    async def read_input(self, request: Request) -> Response:
        """Pass an input on."""
        voice = await self._voice(request)
        chunks = self.link.download(voice.path(f"inputs/{request.path_params['index']}"))
        first = await anext(chunks, b"")  # whether there is any is known before the answer begins

        async def content() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return StreamingResponse(content(), media_type="application/octet-stream")

    async def put_output(self, request: Request) -> Response:
        """Keep an output on disk, then pass it on; it stays here while that can't be done."""
        voice, name = await self._voice(request), request.path_params["name"]
        size, sha256 = announced(request)
        await self.spool.put_output(voice, name, chunks_of(request), size, sha256, self._room.get(voice) or size)
        await self._send(voice, name)
        return Response(status_code=204)

    async def put_log(self, request: Request) -> Response:
        """Keep a log on disk, then pass it on, as an output."""
        voice = await self._voice(request)
        size, sha256 = announced(request)
        name = request.path_params["name"]
        name = await self.spool.put_log(voice, name, chunks_of(request), size, sha256, LOG_MAX_BYTES)
        await self._send(voice, name)
        return Response(status_code=204)

    async def put_live_log(self, request: Request) -> Response:
        """Keep the end of a log here: the runner sends it when somebody reads it."""
        voice, name = await self._voice(request), request.path_params["name"]
        size, sha256 = announced(request)
        if name not in LOGS or size > LIVE_LOG_BYTES:
            raise UsageError(f"A log is stdout or stderr; at most {LIVE_LOG_BYTES} bytes of it are kept.")
        key = live_key(*voice.key, name)
        await self.spool.depot.put(key, chunks_of(request), max_size=size, expected=Stored(size, sha256))
        return Response(status_code=204)

    async def _send(self, voice: Voice, name: str) -> None:
        try:
            await self.spool.send_output(voice, name)
        except (LinkDown, SessionOver) as error:
            log.info("an output is kept", job=voice.key[0], attempt=voice.key[1], output=name, why=error.message)

    async def progress(self, request: Request) -> Response:
        """Pass on how far a command is.

        Nobody waits for what can't be passed on.
        """
        voice = await self._voice(request)
        content = await json_of(request)
        with contextlib.suppress(LinkDown, SessionOver):
            await self.link.post(voice.path("progress"), content)
        return Response(status_code=204)

    async def report(self, request: Request) -> Response:
        """Pass a report on, after the outputs that it names."""
        voice = await self._voice(request)
        content = await json_of(request)
        if not self.spool.has_outputs(voice):
            try:
                await self.link.post(voice.path("report"), content)
                self._room.pop(voice, None)
                return Response(status_code=204)
            except (LinkDown, SessionOver):
                pass
        await self.spool.put_report(voice, content)
        log.info("a report is kept until the service can be called", job=voice.key[0], attempt=voice.key[1])
        return Response(status_code=204)

    async def _voice(self, request: Request) -> Voice:
        agent = await self._agent(request)
        if agent.ticket:
            raise Forbidden("A ticket is for the claim alone.")
        return _voice_of(agent)

    async def _agent(self, request: Request) -> AgentIdentity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationRequired("These resources are for agents, with the token that their site gave them.")
        agent: AgentIdentity = await self.verifier.verify(token.strip())
        if self.site not in agent.sites:
            raise Forbidden("The agent is of another site.")
        return agent


def _voice_of(agent: AgentIdentity) -> Voice:
    return Voice((agent.job_id, agent.number), agent.uid)


def _promise(agent: AgentIdentity) -> dict[str, int]:
    """Return what the service is told of an agent that runs the command itself."""
    return {"heartbeat": agent.heartbeat} if agent.heartbeat else {}


def _answer(_request: Request, error: Exception) -> Response:
    """Return an error as a line of text, as the service does."""
    assert isinstance(error, UwsError)
    status = 503 if isinstance(error, SessionOver) else error.status
    headers = {"retry-after": RETRY_SECONDS} if status >= 500 else {}
    return PlainTextResponse(error.message, status, headers)


def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)
