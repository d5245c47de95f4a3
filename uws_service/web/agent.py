"""The resources for agents in pods, below ``/agent/v1``: no part of UWS, and of no use without a pod's token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, TooLarge, UsageError
from uws_service.service.backend import Backend
from uws_service.web.edge import Resource

MOST_JSON = 1024 * 1024


class AgentResources:
    """What agents ask for."""

    def __init__(self, backend: Backend) -> None:
        self.agents = backend.agents

    def resources(self) -> dict[str, Resource]:
        """Their part of the routes table."""
        return {
            "/agent/v1/claim": Resource("agent", Policy.AGENT, post=self.claim),
            "/agent/v1/token": Resource("agent", Policy.AGENT, post=self.renew),
            "/agent/v1/inputs/{index:int}": Resource("agent", Policy.AGENT, get=self.read_input),
            "/agent/v1/outputs/{name}": Resource("agent", Policy.AGENT, put=self.put_output),
            "/agent/v1/progress": Resource("agent", Policy.AGENT, post=self.progress),
            "/agent/v1/report": Resource("agent", Policy.AGENT, post=self.report),
        }

    async def claim(self, request: Request) -> Response:
        """POST: this pod speaks for its attempt from now on; the answer says what it has to bring and to collect."""
        told = await self.agents.claim(await self._agent(request))
        return JSONResponse(told, headers={"cache-control": "no-store"})

    async def renew(self, request: Request) -> Response:
        """POST: a fresh token in place of the one that is shown, for agents whose tokens this service issues."""
        fresh = await self.agents.renew(await self._agent(request))
        return JSONResponse(fresh, headers={"cache-control": "no-store"})

    async def read_input(self, request: Request) -> Response:
        """GET: one uploaded file."""
        size, chunks = await self.agents.read_input(await self._agent(request), request.path_params["index"])
        return StreamingResponse(chunks, headers={"content-length": str(size)}, media_type="application/octet-stream")

    async def put_output(self, request: Request) -> Response:
        """PUT: one output, with its size and its SHA-256 in headers."""
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
        told = await _json(request)
        try:
            fraction = float(told["fraction"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("fraction: must be a number from 0 to 1.") from None
        await self.agents.progress(agent, fraction if fraction == fraction else 0.0, str(told.get("text", "")))
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


async def _json(request: Request) -> Any:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_JSON:
            raise TooLarge(f"The body is larger than {MOST_JSON} bytes.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UsageError("The body must be a JSON object.")
    return value
