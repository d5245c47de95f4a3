"""A job and its single values (UWS 1.1 §2.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service import telemetry
from uws_service.auth.policy import Policy
from uws_service.byte_cache import ByteCache
from uws_service.domain.errors import NotFound, UsageError
from uws_service.domain.job import Action, Phase
from uws_service.offload import offload
from uws_service.protocol import dali, negotiation, uws
from uws_service.service.backend import Backend
from uws_service.web import pages
from uws_service.web.call import Call, account_of, call_of
from uws_service.web.cookies import SHARE_COOKIE, set_cookie
from uws_service.web.faces.base import VOTABLE
from uws_service.web.faces.registry import Faces
from uws_service.web.job_handlers import JobHandlers, JobPath, query_value, query_values
from uws_service.web.job_overview import JobOverview
from uws_service.web.job_page import job_page
from uws_service.web.job_view import info_view, job_urls
from uws_service.web.replies import (
    NO_STORE,
    TEXT,
    TEXT_BYTES,
    XML_BYTES,
    PlainReply,
    html_reply,
    instant_reply,
    job_weight,
    json_reply,
    see_other,
    text_reply,
)
from uws_service.web.resource import Resource

CACHE_BYTES = 32 * 1024 * 1024
"""Of all job documents that are cached, each for one version of a job."""
MAX_CACHED_BYTES = 256 * 1024
"""A larger document is made again each time."""
SHARE_COOKIE_SECONDS = 86400


class JobResources(JobHandlers):
    """Handlers of ``/{application}/async/{job_id}`` and of its single values."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        super().__init__(backend, faces)
        self.overview = JobOverview(backend, faces)
        self._documents: ByteCache[tuple[str, str], tuple[int, bytes]] = ByteCache(CACHE_BYTES, MAX_CACHED_BYTES)

    async def show(self, request: Request) -> Response:
        """GET {job}: U-022, WAIT and PHASE U-150…U-158."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        if request.scope["query_string"]:
            await self._wait(request, call, name, job_id)
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "xml":
            return PlainReply(await self._document(call, name, job_id), XML_BYTES)
        job = await self.service.get(name, job_id, call.caller)
        urls = job_urls(call, name)
        job, view = await info_view(self.service, job, urls)
        if form == "json":
            listed_job = await self.opus.added(job, call.base)
            return await offload(job_weight(job), json_reply, partial(uws.job_json, listed_job, urls=urls, info=view))
        overview = await self.overview.view(job, call, urls)
        page = partial(job_page, job, overview, urls, self.service.clock(), account_of(request))
        response = html_reply(await offload(job_weight(job), page))
        if call.share and call.share == call.identity.share:  # the page's own links do not carry it
            set_cookie(
                response, call.base, SHARE_COOKIE, call.share, SHARE_COOKIE_SECONDS, below=f"/{name}/async/{job_id}"
            )
        return response

    async def _wait(self, request: Request, call: Call, name: str, job_id: str) -> None:
        asked = _asked_wait(request)
        if asked is None:
            return
        seconds, phase = asked
        limit = self.limits.wait
        seconds = limit if seconds < 0 else min(seconds, limit)
        call.waited = True
        telemetry.WAITERS.inc()
        try:
            await self.service.waiters.wait(name, job_id, call.caller, seconds=seconds, phase=phase)
        finally:
            telemetry.WAITERS.dec()

    async def _document(self, call: Call, name: str, job_id: str) -> bytes:
        """Return the job as XML, cached for each version.

        A queued job's place in the queue is looked up each time.
        """
        version, phase = await self.service.glance(name, job_id, call.caller)
        key = (job_id, call.base)
        cached = self._documents.get(key)
        if cached is not None and cached[0] == version and phase is not Phase.QUEUED:
            return cached[1]
        job = await self.service.get(name, job_id, call.caller)
        urls = job_urls(call, name)
        job, view = await info_view(self.service, job, urls)
        listed_job = await self.opus.added(job, call.base)
        document = await offload(job_weight(job), uws.job_xml, listed_job, urls=urls, info=view)
        self._documents.put(key, (job.version, document), len(document) + len(job_id) + 4 * len(call.base))
        return document

    async def act(self, request: Request) -> Response:
        """POST {job}: ACTION=DELETE (U-024, U-131).

        PHASE is taken here too, as some clients send it (C-19).
        """
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            action, phase = form.word("ACTION"), form.word("PHASE")
        if action is not None:
            if action.upper() != "DELETE":
                raise UsageError(f"ACTION={action[:32]!r} is not possible; possible: DELETE.")
            return await self._delete(call, name, job_id)
        if phase is not None:
            return await self._set_phase(call, name, job_id, phase)
        raise UsageError(
            "Post ACTION=DELETE here. Parameters are posted to the job's /parameters, "
            "PHASE to its /phase, DESTRUCTION to its /destruction."
        )  # D-012

    async def delete(self, request: Request) -> Response:
        """DELETE {job}: U-023, U-130."""
        return await self._delete(call_of(request), *JobPath.of(request))

    async def _delete(self, call: Call, name: str, job_id: str) -> Response:
        await self.service.delete(name, job_id, call.caller)
        return see_other(job_urls(call, name).jobs)

    async def phase(self, request: Request) -> Response:
        """GET {job}/phase: exactly the word (U-025, C-15)."""
        path = request.path_params
        _, phase = await self.service.glance(path["application"], path["job_id"], call_of(request).caller)
        return PlainReply(phase.encode(), TEXT_BYTES)

    async def duration(self, request: Request) -> Response:
        """GET {job}/executionduration: U-028."""
        return text_reply(str((await self._job(request)).duration))

    async def destruction(self, request: Request) -> Response:
        """GET {job}/destruction: U-030, empty without one (U-074)."""
        return instant_reply((await self._job(request)).destruction)

    async def quote(self, request: Request) -> Response:
        """GET {job}/quote: U-033, empty if unknown (U-075)."""
        return instant_reply((await self._job(request)).quote)

    async def owner(self, request: Request) -> Response:
        """GET {job}/owner: U-040, empty for anonymous jobs."""
        return text_reply((await self._job(request)).owner or "")

    async def error(self, request: Request) -> Response:
        """GET {job}/error: U-032, D-042…D-044.

        It is a VOTable unless text is asked for by name.
        """
        job = await self._job(request)
        if job.error is None:
            raise NotFound("The job has no error.")
        message, detail = job.error.message, job.error.detail
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "html":
            return html_reply(pages.error_page(200, job.error.reason, message, detail, call_of(request).base))
        if form == "json":
            body = {"type": "transient" if job.error.transient else "fatal", "reason": job.error.reason}
            return JSONResponse({**body, "message": message, "detail": detail}, headers=NO_STORE)
        if negotiation.names(request.headers.get("accept"), TEXT):
            return text_reply(dali.error_text(message, detail))
        return Response(dali.error_votable(message, detail), 200, NO_STORE, VOTABLE)

    async def set_phase(self, request: Request) -> Response:
        """POST {job}/phase: U-026, U-027."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            phase = form.word("PHASE")
        if phase is None:
            raise UsageError("Post PHASE=RUN or PHASE=ABORT here.")
        return await self._set_phase(call, name, job_id, phase)

    async def _set_phase(self, call: Call, name: str, job_id: str, phase: str) -> Response:
        word = phase.strip().upper()  # values are case-sensitive, but clients have sent "run" (U-110)
        if word == Action.RUN:
            await self.service.run(name, job_id, call.caller)
        elif word == Action.ABORT:
            await self.service.abort(name, job_id, call.caller)
        else:
            raise UsageError(f"PHASE={phase[:32]!r} is not possible; possible: RUN, ABORT.")
        return see_other(job_urls(call, name).job(job_id))

    async def set_duration(self, request: Request) -> Response:
        """POST {job}/executionduration: U-029."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            value = form.word("EXECUTIONDURATION")
        if value is None:
            raise UsageError("Post EXECUTIONDURATION=seconds here.")
        seconds = uws.parse_duration(value)
        await self.service.set_duration(name, job_id, call.caller, seconds)
        return see_other(job_urls(call, name).job(job_id))

    async def set_destruction(self, request: Request) -> Response:
        """POST {job}/destruction: U-031."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            value = form.word("DESTRUCTION")
        if value is None:
            raise UsageError("Post DESTRUCTION=YYYY-MM-DDThh:mm:ss.sssZ here.")
        instant = uws.parse_instant(value)
        await self.service.set_destruction(name, job_id, call.caller, instant)
        return see_other(job_urls(call, name).job(job_id))

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/phase": Resource(
            "phase",
            Policy.READ,
            Policy.WRITE,
            get=(phase, "The phase, one word."),
            post=(set_phase, "`PHASE=RUN` or `PHASE=ABORT`; 303 to `{job}`."),
        ),
        "/{job_id}": Resource(
            "job",
            Policy.READ,
            Policy.WRITE,
            get=(
                show,
                "The job. `WAIT=seconds` answers when the phase changes; with `PHASE=…` it waits in that phase only.",
            ),
            post=(act, "`ACTION=DELETE` deletes it; 303 to `{jobs}`."),
            delete=(delete, "Delete it with its files, stop it if it runs; 303 to `{jobs}`."),
        ),
        "/{job_id}/executionduration": Resource(
            "executionduration",
            Policy.READ,
            Policy.WRITE,
            get=(duration, "Longest run in seconds; 0: no limit."),
            post=(set_duration, "`EXECUTIONDURATION=seconds`, cut to what the application allows."),
        ),
        "/{job_id}/destruction": Resource(
            "destruction",
            Policy.READ,
            Policy.WRITE,
            get=(destruction, "When the job will be destroyed; empty if never."),
            post=(set_destruction, "`DESTRUCTION=instant`, cut to what the application allows."),
        ),
        "/{job_id}/quote": Resource(
            "quote", Policy.READ, get=(quote, "When the job will have ended at the latest; empty if unknown.")
        ),
        "/{job_id}/owner": Resource("owner", Policy.READ, get=(owner, "Who made it; empty for anonymous callers.")),
        "/{job_id}/error": Resource(
            "error",
            Policy.READ,
            get=(
                error,
                "Why it failed, as VOTable, or as text, JSON or page if `Accept` says so. 404 without an error.",
            ),
        ),
    }


def _asked_wait(request: Request) -> tuple[float, Phase | None] | None:
    """Return the seconds and the phase of a request that wants to wait.

    The parsed query ends here: thousands of requests wait at once.
    """
    query = query_values(request)
    wait = query_value(query, "WAIT")
    if wait is None:
        return None  # PHASE alone means nothing here (U-157)
    phases = query.get("PHASE", [])
    return uws.parse_wait(wait), next(iter(uws.parse_phases(phases[:1]) or ()), None)
