"""UWS and DALI alone, and what other faces share with it.

A synchronous request makes a job and waits for it (DALI 1.1 §2.2).

The answer is direct, without a redirect, since not every client follows one (C-23). The job is in no list; it is
deleted once the answer has been sent, and aborted when the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from uws_service import applications
from uws_service.applications import Application
from uws_service.domain.attempt import Reason
from uws_service.domain.errors import NotFound, ServiceUnavailable, UsageError, UwsError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Phase, Result
from uws_service.protocol.file_names import with_ending
from uws_service.web.call import Call, call_of
from uws_service.web.downloads import file_response
from uws_service.web.faces.base import Face, FaceHandlers
from uws_service.web.intake import disconnected, job_request, posted
from uws_service.web.note_header import note_header


class PlainHandlers(FaceHandlers):
    """Synchronous requests as jobs."""

    async def check_sync(self, application: Application, fields: Sequence[tuple[str, str]]) -> None:
        """Raise if a request is wrong, before it is a job."""

    def has_content(self, result: Result) -> bool:
        """Return whether a main result is sent.

        Else the answer is 204.
        """
        return True

    async def answer_sync(self, request: Request, application: Application) -> Response:
        """Answer with the main result (D-045)."""
        call = call_of(request)
        job_id = new_id(self.service.clock())
        async with posted(request, self.backend.uploads, self.backend.limits, job_id) as form:
            job_form = replace(job_request(form, run=True), destruction=None)  # it goes with the answer
            await self.check_sync(
                application, [(field.name, field.value) for field in job_form.parameters if field.upload is None]
            )
            job, _ = await self.service.create(
                application,
                call.caller,
                job_form,
                job_id=job_id,
                listed=False,
            )
        notes = note_header(job.info.notices)
        forget = BackgroundTask(self._forget, call, application.name, job_id)
        try:
            with self.backend.uploads.account(call.identity, call.origin) as account:
                account.hold(form.weight)
                ended = await self._ended(request, job, application.limits.sync_duration)
            result = self._result(ended)
            if not self.has_content(result):
                return Response(status_code=204, headers=notes, background=forget)
            if result.location:
                return RedirectResponse(result.location, 303, background=forget)
            response = await file_response(
                request,
                self.backend.depot,
                result.key,
                size=result.size,
                media_type=result.media_type,
                etag=result.sha256,
                filename=with_ending(f"{application.name}-{result.id}", result.media_type),
            )
        except BaseException:
            await asyncio.shield(forget())
            raise
        call.waited = True
        response.headers.update(notes)
        response.background = forget
        return response

    async def _ended(self, request: Request, job: Job, seconds: int) -> Job:
        """Return the job after its end.

        The wait ends early when the client disconnects.
        """
        final = asyncio.ensure_future(self.service.waiters.wait_final(job, seconds))
        departure = asyncio.ensure_future(disconnected(request))
        try:
            await asyncio.wait((final, departure), return_when=asyncio.FIRST_COMPLETED)
            if not final.done():
                raise UwsError("The client went away.")
            ended = final.result()
        finally:
            for task in (final, departure):
                task.cancel()
        if ended is None:
            raise ServiceUnavailable(
                f"The job did not end within the {seconds} s of a synchronous request; use /async for longer ones."
            )
        return ended

    def _result(self, job: Job) -> Result:
        """Return the main result, or raise the job's error.

        The main result is the one called ``result``, else the first.
        """
        if job.phase is not Phase.COMPLETED:
            summary = job.error
            if summary is None:
                raise ServiceUnavailable(f"The job ended in phase {job.phase.value}.", retry_after=10)
            if summary.reason in (Reason.USAGE, Reason.NO_SITE, Reason.DATA):
                raise UsageError(summary.message, detail=summary.detail)
            if not summary.transient:
                raise JobFailed(summary.message, detail=summary.detail)
            raise ServiceUnavailable(summary.message, detail=summary.detail, retry_after=10)
        if not job.results:
            raise NotFound("The job ended well and has no result.")
        return next((result for result in job.results if result.id == "result"), job.results[0])

    async def _forget(self, call: Call, application: str, job_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self.service.delete(application, job_id, call.caller)


class JobFailed(UwsError):
    """The job failed by its own input or its own doing.

    That is a client's fault in DALI's words (D-045).
    """

    status = 422
    title = "Error"


PLAIN = Face(applications.PLAIN, PlainHandlers)
