"""The UWS resource tree of one application: the job list, the job, and all that hangs below it (UWS 1.1 §2.2.1)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service import telemetry
from uws_service.applications.parameters import single_value
from uws_service.auth.policy import Policy
from uws_service.byte_cache import ByteCache
from uws_service.domain.errors import Forbidden, NotFound, UsageError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Action, Job, JobRef, Parameter, Phase
from uws_service.offload import offload
from uws_service.protocol import dali, negotiation, uws
from uws_service.service.backend import Backend
from uws_service.service.requests import fingerprint
from uws_service.tap.preview_read import LARGEST, Shown, shown
from uws_service.web import pages
from uws_service.web.cookies import SHARE_COOKIE, set_cookie
from uws_service.web.downloads import file_response
from uws_service.web.edge import Call, Resource, account_of, call_of
from uws_service.web.errors import VOTABLE
from uws_service.web.intake import Posted, idempotency_key, job_request, posted
from uws_service.web.job_view import info_view, job_urls

NO_STORE = {"cache-control": "no-store"}  # C-27
XML = "text/xml"
TEXT = "text/plain"
REF_BYTES = 500
"""Of one job in a list, roughly."""
CACHE_BYTES = 32 * 1024 * 1024
"""Bytes of all job documents that are kept, each for one version of a job."""
LARGEST_DOCUMENT = 256 * 1024
"""Bytes of a document beyond which it is made anew each time."""


def see_other(url: str) -> Response:
    """303 with an absolute Location (U-010, U-011)."""
    return Response(status_code=303, headers={"location": url, **NO_STORE})


class Jobs:
    """Handlers of ``/{application}/async`` and below."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service = backend.service
        self.limits = backend.limits
        self._documents: ByteCache[tuple[str, str], tuple[int, bytes]] = ByteCache(CACHE_BYTES, LARGEST_DOCUMENT)

    # --- the list ---------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        """GET {jobs}: U-020, filters U-052…U-060; as XML streamed, however long it is."""
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        query = _query(request)
        phases = uws.parse_phases(query.get("PHASE", []))
        after = uws.parse_after(_single(query, "AFTER"))
        last = uws.parse_last(_single(query, "LAST"))
        run_id = _single(query, "RUNID")  # our own, for the jobs of one table
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "html":
            last = min(last or 1000, pages.MOST_JOBS)
        found = self.service.views.jobs(
            application.name, call.caller, phases=phases, after=after, last=last, run_id=run_id
        )
        urls = job_urls(call, application.name)
        if form == "html":
            refs = [ref async for page in found for ref in page]
            page = partial(pages.jobs_page, application, refs, urls, phases, last, account_of(request))
            return _html(await offload(REF_BYTES * len(refs), page))
        first: list[JobRef] = await anext(aiter(found), [])
        if form == "json":
            if len(first) < 1000:
                return JSONResponse(uws.jobs_json(first, urls), headers=NO_STORE)
            return StreamingResponse(_stream_json(first, found, urls), 200, NO_STORE, "application/json")
        if len(first) < 1000:
            return Response(uws.jobs_open() + uws.jobrefs(first, urls) + uws.jobs_close(), 200, NO_STORE, XML)
        return StreamingResponse(_stream_list(first, found, urls), 200, NO_STORE, XML)

    async def create(self, request: Request) -> Response:
        """POST {jobs}: a new job, 303 to it (U-021, U-120…U-126); a repeated Idempotency-Key finds the first one."""
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        key = idempotency_key(request)
        job_id = new_id(self.service.clock())
        page = negotiation.choose(request.headers.get("accept"), ("xml", "html")) == "html"
        async with posted(request, self.backend.uploads, self.limits, job_id, leave_out_empty=page) as form:
            wanted = job_request(form)
            job, fresh = await self.service.create(
                application,
                call.caller,
                wanted,
                job_id=job_id,
                idempotency=(key, await offload(form.weight, fingerprint, wanted, form.digests)) if key else None,
            )
        if not fresh:
            await self.backend.depot.delete_prefix(f"jobs/{job_id}/")
        return see_other(job_urls(call, application.name).job(job.id))

    # --- the job ----------------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """GET {job}: U-022, WAIT and PHASE U-150…U-158."""
        call = call_of(request)
        name, job_id = request.path_params["application"], request.path_params["job_id"]
        if request.scope["query_string"]:
            await self._wait(request, call, name, job_id)
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "xml":
            return Response(await self._document(call, name, job_id), 200, NO_STORE, XML)
        job = await self.service.get(name, job_id, call.caller)
        urls = job_urls(call, name)
        job, view = await info_view(self.service, job, urls)
        if form == "json":
            return await offload(_weight(job), _json, partial(uws.job_json, job, urls=urls, info=view))
        application = self.service.application(name)
        attempts = await self.service.views.attempts(job_id)
        preview = await self._preview(job) if application.protocol == "tap" else None
        page = partial(
            pages.job_page, job, application, attempts, urls, self.service.clock(), account_of(request), preview
        )
        response = _html(await offload(_weight(job), page))
        if call.share and call.share == call.identity.share:  # the page's own links do not carry it
            set_cookie(response, call.base, SHARE_COOKIE, call.share, 86400, below=f"/{name}/async/{job_id}")
        return response

    async def _preview(self, job: Job) -> Shown | None:
        """The first rows of a query's result."""
        found = next((one for one in job.results if one.id == "preview" and one.size <= LARGEST), None)
        if found is None:
            return None
        content = b"".join([chunk async for chunk in self.backend.depot.read(found.key)])
        return await asyncio.to_thread(shown, content)

    async def _wait(self, request: Request, call: Call, name: str, job_id: str) -> None:
        query = _query(request)
        wait = _single(query, "WAIT")
        if wait is None:
            return  # PHASE alone means nothing here (U-157)
        seconds = uws.parse_wait(wait)
        phases = query.get("PHASE", [])
        phase = next(iter(uws.parse_phases(phases[:1]) or ()), None)
        limit = self.limits.wait
        seconds = limit if seconds < 0 else min(seconds, limit)
        request.scope["uws.waited"] = True
        telemetry.WAITERS.inc()
        try:
            await self.service.waiters.wait(name, job_id, call.caller, seconds=seconds, phase=phase)
        finally:
            telemetry.WAITERS.dec()

    async def _document(self, call: Call, name: str, job_id: str) -> bytes:
        """The job as XML, made once for each version; a queued job's place in the queue is looked up each time."""
        version, phase = await self.service.glance(name, job_id, call.caller)
        key = (job_id, call.base)
        known = self._documents.get(key)
        if known is not None and known[0] == version and phase is not Phase.QUEUED:
            return known[1]
        job = await self.service.get(name, job_id, call.caller)
        urls = job_urls(call, name)
        job, view = await info_view(self.service, job, urls)
        document = await offload(_weight(job), uws.job_xml, job, urls=urls, info=view)
        self._documents.put(key, (job.version, document), len(document) + len(job_id) + 4 * len(call.base))
        return document

    async def act(self, request: Request) -> Response:
        """POST {job}: ACTION=DELETE (U-024, U-131); PHASE is taken here too, as some clients send it (C-19)."""
        call = call_of(request)
        name, job_id = request.path_params["application"], request.path_params["job_id"]
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
        return await self._delete(call_of(request), request.path_params["application"], request.path_params["job_id"])

    async def _delete(self, call: Call, name: str, job_id: str) -> Response:
        await self.service.delete(name, job_id, call.caller)
        return see_other(job_urls(call, name).jobs)

    def _small_form(self, request: Request, job_id: str) -> Any:
        """A form of a few control words, without files."""
        limits = self.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 50})
        return posted(request, self.backend.uploads, limits, job_id)

    # --- what can be read as text -----------------------------------------------------------------------------

    async def phase(self, request: Request) -> Response:
        """GET {job}/phase: exactly the word (U-025, C-15)."""
        path = request.path_params
        _, phase = await self.service.glance(path["application"], path["job_id"], call_of(request).caller)
        return Response(phase, 200, NO_STORE, TEXT)

    async def _job(self, request: Request, *, write: bool = False) -> Job:
        path = request.path_params
        return await self.service.get(path["application"], path["job_id"], call_of(request).caller, write=write)

    async def duration(self, request: Request) -> Response:
        """GET {job}/executionduration: U-028."""
        return _text(str((await self._job(request)).duration))

    async def destruction(self, request: Request) -> Response:
        """GET {job}/destruction: U-030, empty if there is none (U-074)."""
        return _instant((await self._job(request)).destruction)

    async def quote(self, request: Request) -> Response:
        """GET {job}/quote: U-033, empty if unknown (U-075)."""
        return _instant((await self._job(request)).quote)

    async def owner(self, request: Request) -> Response:
        """GET {job}/owner: U-040, empty for anonymous jobs."""
        return _text((await self._job(request)).owner or "")

    async def error(self, request: Request) -> Response:
        """GET {job}/error: U-032, D-042…D-044; a VOTable unless text is asked for by name."""
        job = await self._job(request)
        if job.error is None:
            raise NotFound("The job has no error.")
        message, detail = job.error.message, job.error.detail
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "html":
            return _html(pages.error_page(200, job.error.reason, message, detail, call_of(request).base))
        if form == "json":
            body = {"type": "transient" if job.error.transient else "fatal", "reason": job.error.reason}
            return JSONResponse({**body, "message": message, "detail": detail}, headers=NO_STORE)
        if negotiation.names(request.headers.get("accept"), TEXT):
            return _text(dali.error_text(message, detail))
        return Response(dali.error_votable(message, detail), 200, NO_STORE, VOTABLE)

    # --- what can be changed ----------------------------------------------------------------------------------

    async def set_phase(self, request: Request) -> Response:
        """POST {job}/phase: U-026, U-027."""
        call = call_of(request)
        name, job_id = request.path_params["application"], request.path_params["job_id"]
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
        name, job_id = request.path_params["application"], request.path_params["job_id"]
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
        name, job_id = request.path_params["application"], request.path_params["job_id"]
        async with self._small_form(request, job_id) as form:
            value = form.word("DESTRUCTION")
        if value is None:
            raise UsageError("Post DESTRUCTION=YYYY-MM-DDThh:mm:ss.sssZ here.")
        instant = uws.parse_instant(value)
        await self.service.set_destruction(name, job_id, call.caller, instant)
        return see_other(job_urls(call, name).job(job_id))

    # --- parameters -------------------------------------------------------------------------------------------

    async def parameters(self, request: Request) -> Response:
        """GET {job}/parameters: U-036."""
        job = await self._job(request)
        urls = job_urls(call_of(request), job.application)
        if negotiation.choose(request.headers.get("accept"), ("xml", "json")) == "json":
            return await offload(_weight(job), _json, lambda: uws.job_json(job, urls=urls)["parameters"])
        return Response(await offload(_weight(job), uws.parameters_xml, job, urls=urls), 200, NO_STORE, XML)

    async def set_parameters(self, request: Request) -> Response:
        """POST {job}/parameters: U-037, D-011, D-013."""
        job = await self._pending(request)
        call = call_of(request)
        async with posted(request, self.backend.uploads, self.limits, job.id) as form:
            await self._save_parameters(call, job, form)
        return see_other(job_urls(call, job.application).job(job.id))

    async def _save_parameters(self, call: Call, job: Job, form: Posted) -> None:
        misplaced = [name for name, _ in form.fields if name.upper() in ("PHASE", "DESTRUCTION", "EXECUTIONDURATION")]
        if misplaced:
            raise UsageError(f"{misplaced[0]} is not a parameter; post it to the job's /{misplaced[0].lower()}.")
        wanted = job_request(form, creating=False)
        await self.service.set_parameters(job.application, job.id, call.caller, wanted)

    async def _pending(self, request: Request) -> Job:
        """The job, if its parameters may be changed: known before a body is read."""
        job = await self._job(request, write=True)
        if job.phase is not Phase.PENDING:
            raise Forbidden(f"Parameters can be changed only while the job is PENDING; it is {job.phase.value}.")
        return job

    async def parameter(self, request: Request) -> Response:
        """GET {job}/parameters/{name}: an upload's bytes, or a value as text (U-038, U-080, U-124)."""
        job = await self._job(request)
        name = request.path_params["name"].upper()
        found = [one for one in job.parameters if one.name.upper() == name]
        if not found:
            raise NotFound(f"The job has no parameter {request.path_params['name']!r}.")
        number = request.query_params.get("value", "1")
        if not re.fullmatch(r"\d{1,9}", number, re.ASCII) or not 1 <= int(number) <= len(found):
            raise NotFound(f"The parameter has {len(found)} values; value={number[:16]!r} is not one of them.")
        one = found[int(number) - 1]
        if one.upload is None:
            return _text(one.value)
        return await file_response(
            request,
            self.backend.depot,
            one.upload,
            size=one.size or 0,
            media_type=one.media_type or "application/octet-stream",
            etag=one.upload.rpartition("/")[2],
            filename=one.value or one.name,
        )

    async def put_parameter(self, request: Request) -> Response:
        """PUT {job}/parameters/{name}: the body is the value (U-039)."""
        job = await self._pending(request)
        call = call_of(request)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.limits.value:
                raise UsageError(f"A value has at most {self.limits.value} bytes.")
        try:
            value = body.decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError("A value must be text in UTF-8; post a file in a multipart form.") from None
        known = [one.name for one in job.parameters if one.name.upper() == request.path_params["name"].upper()]
        if not known:
            raise NotFound("Only a parameter that the job has can be put; post new ones to /parameters.")
        wanted = job_request(Posted(((known[0], value),)), creating=False)
        wanted = replace(wanted, parameters=(Parameter(known[0], value),))
        await self.service.set_parameters(job.application, job.id, call.caller, wanted)
        return see_other(job_urls(call, job.application).job(job.id))

    # --- results and logs -------------------------------------------------------------------------------------

    async def results(self, request: Request) -> Response:
        """GET {job}/results: U-034, U-082."""
        job = await self._job(request)
        urls = job_urls(call_of(request), job.application)
        if negotiation.choose(request.headers.get("accept"), ("xml", "json")) == "json":
            return await offload(_weight(job), _json, lambda: uws.job_json(job, urls=urls)["results"])
        return Response(await offload(_weight(job), uws.results_xml, job, urls=urls), 200, NO_STORE, XML)

    async def result(self, request: Request) -> Response:
        """GET {job}/results/{id}: U-035, D-041."""
        job = await self._job(request)
        wanted = request.path_params["name"]
        for one in job.results:
            if one.id == wanted:
                return await file_response(
                    request,
                    self.backend.depot,
                    one.key,
                    size=one.size,
                    media_type=one.media_type,
                    etag=one.sha256,
                    filename=f"{job.id}-{one.id}",
                )
        known = ", ".join(one.id for one in job.results) or "none"
        raise NotFound(f"The job has no result {wanted!r}; it has: {known}. Its phase is {job.phase.value}.")

    async def log(self, request: Request) -> Response:
        """GET {job}/logs/{name}: what the command printed; while it runs, the end of it so far."""
        job = await self._job(request)
        name = request.path_params["name"]
        if name not in ("stdout", "stderr"):
            raise NotFound(f"There is no log {name[:64]!r}; there are: stdout, stderr.")
        key = f"jobs/{job.id}/logs/{name}"
        kept = await self.backend.depot.head(key)
        if kept is not None:
            return await file_response(
                request,
                self.backend.depot,
                key,
                size=kept.size,
                media_type="text/plain; charset=utf-8",
                etag=f"{job.id}-{name}-{kept.size}",
                filename=f"{job.id}-{name}.txt",
            )
        attempts = await self.service.views.attempts(job.id)
        for attempt in reversed(attempts):
            text = await self.backend.live_log(attempt, name)
            if text is not None:
                headers = NO_STORE
                return Response(text, 200, headers, TEXT)
        raise NotFound("There is no log yet." if job.phase in (Phase.PENDING, Phase.QUEUED) else "There is no log.")

    def resources(self) -> dict[str, Resource]:
        """Path below ``/{application}/async`` → resource; the ones that are asked for most come first."""
        return {
            "/{job_id}/phase": Resource("phase", Policy.READ, Policy.WRITE, get=self.phase, post=self.set_phase),
            "/{job_id}": Resource("job", Policy.READ, Policy.WRITE, get=self.show, post=self.act, delete=self.delete),
            "": Resource("jobs", Policy.LIST, Policy.USE, get=self.list, post=self.create),
            "/{job_id}/results/{name}": Resource("result", Policy.READ, get=self.result),
            "/{job_id}/results": Resource("results", Policy.READ, get=self.results),
            "/{job_id}/parameters": Resource(
                "parameters", Policy.READ, Policy.WRITE, get=self.parameters, post=self.set_parameters
            ),
            "/{job_id}/parameters/{name}": Resource(
                "parameter", Policy.READ, Policy.WRITE, get=self.parameter, put=self.put_parameter
            ),
            "/{job_id}/executionduration": Resource(
                "executionduration", Policy.READ, Policy.WRITE, get=self.duration, post=self.set_duration
            ),
            "/{job_id}/destruction": Resource(
                "destruction", Policy.READ, Policy.WRITE, get=self.destruction, post=self.set_destruction
            ),
            "/{job_id}/quote": Resource("quote", Policy.READ, get=self.quote),
            "/{job_id}/owner": Resource("owner", Policy.READ, get=self.owner),
            "/{job_id}/error": Resource("error", Policy.READ, get=self.error),
            "/{job_id}/logs/{name}": Resource("log", Policy.READ, get=self.log),
        }


async def _stream_list(first: list[JobRef], rest: AsyncIterator[list[JobRef]], urls: Any) -> AsyncIterator[bytes]:
    """A long list as it is read, page by page."""
    yield uws.jobs_open()
    yield uws.jobrefs(first, urls)
    async for page in rest:
        yield uws.jobrefs(page, urls)
    yield uws.jobs_close()


async def _stream_json(first: list[JobRef], rest: AsyncIterator[list[JobRef]], urls: Any) -> AsyncIterator[bytes]:
    """A long list as JSON, page by page; the same document as a short one."""
    yield b'{"version":"1.1","jobs":[' + _refs_json(first, urls)
    async for page in rest:
        if page:
            yield b"," + _refs_json(page, urls)
    yield b"]}"


def _refs_json(refs: list[JobRef], urls: Any) -> bytes:
    text = json.dumps(uws.jobs_json(refs, urls)["jobs"], ensure_ascii=False, separators=(",", ":"))
    return text[1:-1].encode(errors="replace")


def _json(document: Callable[[], Any]) -> Response:
    return JSONResponse(document(), headers=NO_STORE)


def _weight(job: Job) -> int:
    """Bytes that a document of a job has, roughly."""
    values = sum(len(one.value) for one in job.parameters)
    detail = len(job.error.detail) if job.error is not None else 0
    return values + detail + REF_BYTES * (len(job.parameters) + len(job.results))


def _query(request: Request) -> dict[str, list[str]]:
    """Query parameters by upper-case name (D-020)."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name.upper(), []).append(value)
    return found


def _single(query: dict[str, list[str]], name: str) -> str | None:
    return single_value(name, query.get(name, []))


def _text(text: str) -> Response:
    return Response(text, 200, NO_STORE, TEXT)


def _instant(instant: int | None) -> Response:
    return _text(uws.format_instant(instant) if instant is not None else "")


def _html(page: str) -> Response:
    return Response(page, 200, {**NO_STORE, **pages.HEADERS}, "text/html")
