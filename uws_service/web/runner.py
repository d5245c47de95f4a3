"""Resources for the runners of sites that only call out, below ``/runner/v1``.

They are no part of UWS. A runner shows its site's key, or a token of the site's client, at each of them, and all but
the first want the session that it has opened: an earlier one gets 409.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.auth.credentials import token_of
from uws_service.auth.policy import Policy
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, UsageError
from uws_service.domain.runner import RunnerSession
from uws_service.request_bodies import announced, chunks_of, json_of
from uws_service.service.backend import Backend
from uws_service.web.agent import AgentResources
from uws_service.web.call import call_of
from uws_service.web.resource import Resource

BODY_BYTES = 4 * 1024 * 1024
SITE = "/runner/v1/{site}"
ATTEMPT = "/runner/v1/{site}/attempts/{job_id}/{number:int}"
AGENT = ATTEMPT + "/agents/{voice}"
HEADER = "x-uws-runner"
"""Names the session: the runner's id and the session's number."""
_SESSION = re.compile(r"([0-9a-f]{32}) ([0-9]{1,15})")
_NO_STORE = {"cache-control": "no-store"}


class RunnerResources(AgentResources):
    """What runners ask for, for themselves or for their site's agents."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.runners = backend.runners

    async def open(self, request: Request) -> Response:
        """POST: begin a session.

        The answer has its number.
        """
        site = await self._admitted(request)
        return JSONResponse(await self.runners.open(site, await json_of(request)), headers=_NO_STORE)

    async def close(self, request: Request) -> Response:
        """DELETE: end the session, so that another runner may have the site at once."""
        await self.runners.close(await self._session(request))
        return Response(status_code=204)

    async def orders(self, request: Request) -> Response:
        """POST ``{"after": 7, "wait": 8}``: what is to be done; waits until there is anything."""
        session = await self._session(request)
        call_of(request).waited = True
        return JSONResponse(await self.runners.orders(session, await json_of(request)), headers=_NO_STORE)

    async def report_site(self, request: Request) -> Response:
        """POST: what was done, and what there is at the site."""
        session = await self._session(request)
        return JSONResponse(await self.runners.report(session, await json_of(request, BODY_BYTES)), headers=_NO_STORE)

    async def read_site_input(self, request: Request) -> Response:
        """GET: one uploaded file of an attempt."""
        session, path = await self._session(request), request.path_params
        size, chunks = await self.runners.read_input(session, path["job_id"], path["number"], path["index"])
        return StreamingResponse(chunks, headers={"content-length": str(size)}, media_type="application/octet-stream")

    async def data(self, request: Request) -> Response:
        """POST: the tokens for an attempt's data."""
        session, path = await self._session(request), request.path_params
        tokens = await self.runners.data(session, path["job_id"], path["number"])
        return JSONResponse(tokens, headers=_NO_STORE)

    async def put_log(self, request: Request) -> Response:
        """PUT: a log at the end of its command."""
        return await self._put_log(request, live=False)

    async def put_live_log(self, request: Request) -> Response:
        """PUT: the end of a log as it is now."""
        return await self._put_log(request, live=True)

    async def _put_log(self, request: Request, *, live: bool) -> Response:
        session, path = await self._session(request), request.path_params
        size, sha256 = announced(request)
        await self.runners.put_log(
            session, path["job_id"], path["number"], path["name"], chunks_of(request), size, sha256, live=live
        )
        return Response(status_code=204)

    async def _admitted(self, request: Request) -> str:
        """Return the site for whose runner a request comes."""
        call = call_of(request)
        if not call.authorization:
            raise AuthenticationRequired("These resources are for runners of sites, with their key or token.")
        site: str = request.path_params["site"]
        await self.runners.admit(site, token_of(call.authorization), call.origin)
        return site

    async def _session(self, request: Request) -> RunnerSession:
        site = await self._admitted(request)
        match = _SESSION.fullmatch(request.headers.get(HEADER, ""))
        if match is None:
            raise UsageError("X-UWS-Runner: must be the runner's id and the number of its session.")
        session = RunnerSession(site, match[1], int(match[2]))
        await self.runners.require(session)
        return session

    async def _agent(self, request: Request) -> AgentIdentity:
        session, path = await self._session(request), request.path_params
        return await self.runners.agent(session, path["job_id"], path["number"], path["voice"])

    async def claim_passed_on(self, request: Request) -> Response:
        """POST: an agent's claim; one that runs the command itself says its ``heartbeat``."""
        agent, start = await self._agent(request), await json_of(request)
        instructions = await self.agents.claim(self.runners.beginning(agent, start), start)
        return JSONResponse(instructions, headers=_NO_STORE)

    async def heartbeat(self, request: Request) -> Response:
        """POST: an agent that runs the command itself lives."""
        agent, start = await self._agent(request), await json_of(request)
        await self.agents.renew(self.runners.beginning(agent, start))
        return Response(status_code=204)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        f"{SITE}/session": Resource(
            "runner",
            Policy.RUNNER,
            post=(open, "For runners: begin a session for a site."),
            delete=(close, "For runners: end the session."),
        ),
        f"{SITE}/orders": Resource(
            "runner", Policy.RUNNER, post=(orders, "For runners: what is to be done; waits until there is anything.")
        ),
        f"{SITE}/report": Resource(
            "runner", Policy.RUNNER, post=(report_site, "For runners: what was done, and what there is at the site.")
        ),
        f"{ATTEMPT}/inputs/{{index:int}}": Resource(
            "runner", Policy.RUNNER, get=(read_site_input, "For runners: one uploaded file of an attempt.")
        ),
        f"{ATTEMPT}/data": Resource("runner", Policy.RUNNER, post=(data, "For runners: tokens for an attempt's data.")),
        f"{ATTEMPT}/logs/{{name}}": Resource(
            "runner", Policy.RUNNER, put=(put_log, "For runners: store a log, with its size and its SHA-256.")
        ),
        f"{ATTEMPT}/live/{{name}}": Resource(
            "runner", Policy.RUNNER, put=(put_live_log, "For runners: the end of a log as it is now.")
        ),
        f"{AGENT}/claim": Resource(
            "runner", Policy.RUNNER, post=(claim_passed_on, "For runners: an agent's claim, passed on.")
        ),
        f"{AGENT}/inputs/{{index:int}}": Resource(
            "runner", Policy.RUNNER, get=(AgentResources.read_input, "For runners: one uploaded file for an agent.")
        ),
        f"{AGENT}/outputs/{{name}}": Resource(
            "runner", Policy.RUNNER, put=(AgentResources.put_output, "For runners: store one output of an attempt.")
        ),
        f"{AGENT}/heartbeat": Resource(
            "runner", Policy.RUNNER, post=(heartbeat, "For runners: an agent that runs the command itself lives.")
        ),
        f"{AGENT}/logs/{{name}}": Resource(
            "runner", Policy.RUNNER, put=(AgentResources.put_log, "For runners: stdout or stderr that an agent stores.")
        ),
        f"{AGENT}/progress": Resource(
            "runner", Policy.RUNNER, post=(AgentResources.progress, "For runners: how far an agent's command is.")
        ),
        f"{AGENT}/report": Resource(
            "runner", Policy.RUNNER, post=(AgentResources.report, "For runners: how an attempt ended, for its agent.")
        ),
    }
