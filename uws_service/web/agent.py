"""Resources for agents in pods, below ``/agent/v1``.

They are no part of UWS, and of no use without a pod's token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, UsageError
from uws_service.request_bodies import announced, chunks_of, json_of
from uws_service.service.backend import Backend
from uws_service.web.resource import Resource


class AgentResources:
    """What agents ask for."""

    def __init__(self, backend: Backend) -> None:
        self.agents = backend.agents

    async def claim(self, request: Request) -> Response:
        """POST: speak for an attempt from now on.

        The answer says what the agent has to fetch and to collect.
        """
        agent = await self._agent(request)
        instructions = await self.agents.claim(agent, await json_of(request))
        return JSONResponse(instructions, headers={"cache-control": "no-store"})

    async def renew(self, request: Request) -> Response:
        """POST: a fresh token in place of the one that is shown, for agents whose tokens this service issues."""
        fresh = await self.agents.renew(await self._agent(request))
        return JSONResponse(fresh, headers={"cache-control": "no-store"})

    async def read_input(self, request: Request) -> Response:
        """GET: one uploaded file."""
        size, chunks = await self.agents.read_input(await self._agent(request), request.path_params["index"])
        return StreamingResponse(chunks, headers={"content-length": str(size)}, media_type="application/octet-stream")

    async def put_output(self, request: Request) -> Response:
        """PUT: one output; headers have size and SHA-256."""
        agent = await self._agent(request)
        size, digest = announced(request)
        await self.agents.put_output(agent, request.path_params["name"], chunks_of(request), size, digest)
        return Response(status_code=204)

    async def put_log(self, request: Request) -> Response:
        """PUT: stdout or stderr of a command.

        Headers have size and SHA-256.
        """
        agent = await self._agent(request)
        size, digest = announced(request)
        await self.agents.put_log(agent, request.path_params["name"], chunks_of(request), size, digest)
        return Response(status_code=204)

    async def put_live_log(self, request: Request) -> Response:
        """PUT: the end of a log while the command runs, with its size and SHA-256."""
        agent = await self._agent(request)
        size, digest = announced(request)
        await self.agents.put_live_log(agent, request.path_params["name"], chunks_of(request), size, digest)
        return Response(status_code=204)

    async def progress(self, request: Request) -> Response:
        """POST ``{"fraction": 0.5, "text": "…"}``."""
        agent = await self._agent(request)
        body = await json_of(request)
        try:
            fraction = float(body["fraction"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("fraction: must be a number from 0 to 1.") from None
        await self.agents.progress(agent, fraction if fraction == fraction else 0.0, str(body.get("text", "")))
        return Response(status_code=204)

    async def report(self, request: Request) -> Response:
        """POST: the agent's last word."""
        agent = await self._agent(request)
        await self.agents.report(agent, await json_of(request))
        return Response(status_code=204)

    async def _agent(self, request: Request) -> AgentIdentity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationRequired("These resources are for agents in pods, with their service-account token.")
        return await self.agents.identify(token.strip())

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/agent/v1/claim": Resource(
            "agent", Policy.AGENT, post=(claim, "For agents: speak for an attempt from now on; what to do, as JSON.")
        ),
        "/agent/v1/token": Resource(
            "agent", Policy.AGENT, post=(renew, "For agents: a fresh token in place of the one that is shown.")
        ),
        "/agent/v1/inputs/{index:int}": Resource(
            "agent", Policy.AGENT, get=(read_input, "For agents: one uploaded file.")
        ),
        "/agent/v1/outputs/{name}": Resource(
            "agent", Policy.AGENT, put=(put_output, "For agents: store one output, with its size and its SHA-256.")
        ),
        "/agent/v1/logs/{name}": Resource(
            "agent", Policy.AGENT, put=(put_log, "For agents: store stdout or stderr of a command that they ran.")
        ),
        "/agent/v1/live/{name}": Resource(
            "agent", Policy.AGENT, put=(put_live_log, "For agents: the end of a log while the command runs.")
        ),
        "/agent/v1/progress": Resource("agent", Policy.AGENT, post=(progress, "For agents: how far the command is.")),
        "/agent/v1/report": Resource("agent", Policy.AGENT, post=(report, "For agents: how the attempt ended.")),
    }
