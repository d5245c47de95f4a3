"""DALI-sync of every application: one request that makes a job, waits for it and answers with its result (§2.2).

The answer is direct, without a redirect, since not every client follows one (C-23). The job is in no list; it is
deleted once the answer has been sent, and aborted when the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound, ServiceUnavailable, UsageError, UwsError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Phase, Result
from uws_service.service.backend import Backend
from uws_service.web.downloads import file_response
from uws_service.web.edge import Call, Resource, call_of
from uws_service.web.faces.soda import Soda, failure
from uws_service.web.faces.tap import Tap
from uws_service.web.intake import disconnected, job_request, posted, run_id_of


class Sync:
    """Handlers of ``/{application}/sync``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service = backend.service
        self.soda = Soda(backend)
        self.tap = Tap(backend)

    async def answer(self, request: Request) -> Response:
        """GET and POST (D-015): 200 with the main result, or an error document (D-045)."""
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        if application.name in self.backend.queries:
            return await self.tap.query(request, application)
        job_id = new_id(self.service.clock())
        soda = application.protocol == "soda"
        async with posted(request, self.backend.uploads, self.backend.limits, job_id) as form:
            fields = tuple((name, value) for name, value in form.fields if name.upper() not in ("PHASE", "RUNID"))
            if soda:
                await self.soda.check_sync(application, fields)
            wanted = job_request(type(form)((*fields, ("PHASE", "RUN")), form.files, form.digests))
            wanted = type(wanted)(wanted.parameters, True, run_id_of(form), wanted.duration, None)
            job, _ = await self.service.create(
                application,
                call.caller,
                wanted,
                job_id=job_id,
                listed=False,
            )
        forget = BackgroundTask(self._forget, call, application.name, job_id)
        try:
            ended = await self._ended(request, job, application.limits.sync_duration)
            if soda and (failed := failure(ended)) is not None:
                raise failed
            result = self._result(ended)
            if soda and result.media_type == "text/plain":  # why there is nothing to cut; a client gets no body
                return Response(status_code=204, background=forget)
            response = await file_response(
                request,
                self.backend.depot,
                result.key,
                size=result.size,
                media_type=result.media_type,
                etag=result.sha256,
                filename=f"{application.name}-{result.id}",
            )
        except BaseException:
            await asyncio.shield(forget())
            raise
        request.scope["uws.waited"] = True
        response.background = forget
        return response

    async def _ended(self, request: Request, job: Job, seconds: int) -> Job:
        """The job after its end; the wait ends early when the client has gone away."""
        waiting = asyncio.ensure_future(self.service.waiters.wait_final(job, seconds))
        gone = asyncio.ensure_future(disconnected(request))
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise UwsError("The client went away.")
            ended = waiting.result()
        finally:
            for task in (waiting, gone):
                task.cancel()
        if ended is None:
            raise ServiceUnavailable(
                f"The job did not end within the {seconds} s of a synchronous request; use /async for longer ones."
            )
        return ended

    def _result(self, job: Job) -> Result:
        """The main result: the one called ``result``, else the first; errors as the job tells them."""
        if job.phase is not Phase.COMPLETED:
            summary = job.error
            message = summary.message if summary is not None else f"The job ended in phase {job.phase.value}."
            detail = summary.detail if summary is not None else ""
            if summary is not None and summary.reason == "Usage":
                raise UsageError(message, detail=detail)
            if summary is not None and not summary.transient:
                raise JobFailed(message, detail=detail)
            raise ServiceUnavailable(message, detail=detail, retry_after=10)
        if not job.results:
            raise NotFound("The job ended well and has no result.")
        return next((one for one in job.results if one.id == "result"), job.results[0])

    async def _forget(self, call: Call, application: str, job_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self.service.delete(application, job_id, call.caller)

    def resource(self) -> Resource:
        """The routes' entry."""
        return Resource("sync", Policy.USE, get=self.answer, post=self.answer)


class JobFailed(UwsError):
    """The job itself failed, by its own input or its own doing: a client's fault in DALI's words (D-045)."""

    status = 422
    title = "Error"
