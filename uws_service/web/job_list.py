"""The job list of an application (UWS 1.1 §2.2.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.ids import new_id
from uws_service.domain.job import JobRef
from uws_service.offload import offload
from uws_service.protocol import negotiation, uws
from uws_service.service.requests import fingerprint
from uws_service.web import list_page
from uws_service.web.call import account_of, call_of
from uws_service.web.intake import idempotency_key, job_request, posted
from uws_service.web.job_handlers import JobHandlers, query_value, query_values
from uws_service.web.job_view import job_urls
from uws_service.web.replies import NO_STORE, REF_BYTES, XML, html_reply, see_other
from uws_service.web.resource import Resource

PAGE_JOBS = 1000
"""Jobs of a part of the list; a longer list is streamed."""


class JobList(JobHandlers):
    """Handlers of ``/{application}/async``."""

    async def list(self, request: Request) -> Response:
        """GET: the jobs (U-020), filtered (U-052…U-060).

        XML is streamed, however long it is.
        """
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        query = query_values(request)
        phases = uws.parse_phases(query.get("PHASE", []))
        after = uws.parse_after(query_value(query, "AFTER"))
        last = uws.parse_last(query_value(query, "LAST"))
        run_id = query_value(query, "RUNID")  # our own, for the jobs of one table
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "html":
            last = min(last or PAGE_JOBS, list_page.MAX_JOBS)
        parts = self.service.views.jobs(
            application.name, call.caller, phases=phases, after=after, last=last, run_id=run_id
        )
        urls = job_urls(call, application.name)
        if form == "html":
            refs = [ref async for part in parts for ref in part]
            page = partial(list_page.jobs_page, application, refs, urls, phases, last, account_of(request))
            return html_reply(await offload(REF_BYTES * len(refs), page))
        first: list[JobRef] = await anext(aiter(parts), [])
        if form == "json":
            if len(first) < PAGE_JOBS:
                return JSONResponse(uws.jobs_json(first, urls), headers=NO_STORE)
            return StreamingResponse(_stream_json(first, parts, urls), 200, NO_STORE, "application/json")
        if len(first) < PAGE_JOBS:
            return Response(uws.jobs_open() + uws.jobrefs(first, urls) + uws.jobs_close(), 200, NO_STORE, XML)
        return StreamingResponse(_stream_xml(first, parts, urls), 200, NO_STORE, XML)

    async def create(self, request: Request) -> Response:
        """POST: a new job, 303 to it (U-021, U-120…U-126).

        A repeated Idempotency-Key finds the first one.
        """
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        key = idempotency_key(request)
        job_id = new_id(self.service.clock())
        page = negotiation.choose(request.headers.get("accept"), ("xml", "html")) == "html"
        async with posted(request, self.backend.uploads, self.limits, job_id, leave_out_empty=page) as form:
            job_form = job_request(form)
            job, fresh = await self.service.create(
                application,
                call.caller,
                job_form,
                job_id=job_id,
                idempotency=(key, await offload(form.weight, fingerprint, job_form, form.digests)) if key else None,
            )
        if not fresh:
            await self.backend.depot.delete_prefix(f"jobs/{job_id}/")
        return see_other(job_urls(call, application.name).job(job.id))

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "": Resource(
            "jobs",
            Policy.LIST,
            Policy.USE,
            get=(list, "The caller's jobs, newest first. `PHASE` (repeatable), `AFTER` and `LAST` filter."),
            post=(
                create,
                "A new job; 303 to it. `PHASE=RUN` starts it at once. A repeated `Idempotency-Key` finds the first.",
            ),
        ),
    }


async def _stream_xml(
    first: list[JobRef], parts: AsyncIterator[list[JobRef]], urls: uws.JobUrls
) -> AsyncIterator[bytes]:
    """Yield a long list part by part."""
    yield uws.jobs_open()
    yield uws.jobrefs(first, urls)
    async for part in parts:
        yield uws.jobrefs(part, urls)
    yield uws.jobs_close()


async def _stream_json(
    first: list[JobRef], parts: AsyncIterator[list[JobRef]], urls: uws.JobUrls
) -> AsyncIterator[bytes]:
    """Yield a long list as JSON, part by part.

    It is the same document as a short one.
    """
    yield b'{"version":"1.1","jobs":[' + _refs_json(first, urls)
    async for part in parts:
        if part:
            yield b"," + _refs_json(part, urls)
    yield b"]}"


def _refs_json(refs: list[JobRef], urls: uws.JobUrls) -> bytes:
    text = json.dumps(uws.jobs_json(refs, urls)["jobs"], ensure_ascii=False, separators=(",", ":"))
    return text[1:-1].encode(errors="replace")
