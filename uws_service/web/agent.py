"""Resources for agents in pods, below ``/agent/v1``.

They are no part of UWS, and of no use without a pod's token.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, TooLarge, UsageError
from uws_service.service.backend import Backend
from uws_service.web.resource import Resource

MAX_JSON_BYTES = 1024 * 1024


class AgentResources:
    """What agents ask for."""

    def __init__(self, backend: Backend) -> None:
        self.agents = backend.agents

    async def claim(self, request: Request) -> Response:
        """POST: speak for an attempt from now on.

        The answer says what the agent has to fetch and to collect.
        """
        instructions = await self.agents.claim(await self._agent(request))
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
        length, digest = request.headers.get("content-length", ""), request.headers.get("x-content-sha256", "")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise UsageError("The Content-Length header is missing.")
        chunks = self._chunks(request)
        await self.agents.put_output(agent, request.path_params["name"], chunks, int(length), digest.lower())
        return Response(status_code=204)

    async def progress(self, request: Request) -> Response:
        """POST ``{"fraction": 0.5, "text": "…"}``."""
        agent = await self._agent(request)
        body = await _json(request)
        try:
            fraction = float(body["fraction"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("fraction: must be a number from 0 to 1.") from None
        await self.agents.progress(agent, fraction if fraction == fraction else 0.0, str(body.get("text", "")))
        return Response(status_code=204)

    async def report(self, request: Request) -> Response:
        """POST: the agent's last word."""
        agent = await self._agent(request)
        await self.agents.report(agent, await _json(request))
        return Response(status_code=204)

    async def _agent(self, request: Request) -> AgentIdentity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationRequired("These resources are for agents in pods, with their service-account token.")
        return await self.agents.identify(token.strip())

    @staticmethod
    async def _chunks(request: Request) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            if chunk:
                yield chunk

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
        "/agent/v1/progress": Resource("agent", Policy.AGENT, post=(progress, "For agents: how far the command is.")),
        "/agent/v1/report": Resource("agent", Policy.AGENT, post=(report, "For agents: how the attempt ended.")),
    }


async def _json(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"The body is larger than {MAX_JSON_BYTES} bytes.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError("The body must be a JSON object.")
    return value
