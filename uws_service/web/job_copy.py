"""Edit a job as a new one (no part of UWS): whatever its phase, with some of its parameters changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications.problems import problems
from uws_service.auth.policy import Policy
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job
from uws_service.offload import offload
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.service.copies import Copies, changed
from uws_service.service.requests import fingerprint
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.form_page import Form, entered_form, new_job_page
from uws_service.web.intake import idempotency_key, posted
from uws_service.web.job_handlers import JobHandlers
from uws_service.web.job_view import job_urls
from uws_service.web.new_job import refused, request_of
from uws_service.web.page_form import read_entries
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource


class JobCopy(JobHandlers):
    """Handlers of ``{job}/copy``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        super().__init__(backend, faces)
        self.copies = Copies(backend.service, backend.uploads)

    async def show(self, request: Request) -> Response:
        """GET {job}/copy: the form with the job's entries, or what a copy would have."""
        call, job = call_of(request), await self._job(request)
        application = self.service.application(job.application)
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            self.service.rules.require_use(application, call.identity)  # before anything is entered
            form = Form(application, job.parameters, job.run_id or "", job.duration, earlier=job)
            return html_reply(new_job_page(form, call.base, account_of(request)))
        hits = await offload(_weight(job), problems, application, job.parameters)
        document = {
            "job": job_urls(call, job.application).job(job.id),
            "runId": job.run_id,
            "executionDuration": job.duration,
            "parameters": [
                {"name": item.name, "value": item.value, "file": item.upload is not None, "size": item.size}
                for item in job.parameters
            ],
            "problems": [{"parameter": hit.parameter, "message": hit.message} for hit in hits],
        }
        return JSONResponse(document, headers=NO_STORE)

    async def create(self, request: Request) -> Response:
        """POST {job}/copy: a new job with what is posted instead of what this one has; 303 to it.

        The caller needs no more than to read the job: what is copied could be read off it. The new job is the
        caller's own, under the rules for new jobs.
        """
        call = call_of(request)
        key = idempotency_key(request)
        await self._require_new_jobs(request)
        earlier = await self._job(request)
        application = self.service.application(earlier.application)
        self.service.rules.require_use(application, call.identity)
        job_id = new_id(self.service.clock())
        async with posted(request, self.backend.uploads, self.limits, job_id) as form:
            entries = read_entries(form.fields, form.files)
            job_form, hits = request_of(form, entries.fields)
            hits = [*entries.problems, *hits]
            if job_form is not None:
                parameters = changed(earlier.parameters, job_form.parameters, application, entries.without)
                weight = _weight(earlier) + form.weight
                hits += await offload(weight, problems, application, parameters)
            if job_form is not None and not hits:
                names = {name.upper() for name, _ in entries.fields}
                job_form = replace(
                    job_form,
                    parameters=parameters,
                    run_id=job_form.run_id if "RUNID" in names else earlier.run_id,
                    duration=job_form.duration if "EXECUTIONDURATION" in names else earlier.duration,
                )
                mark = (key, fingerprint(job_form, form.digests)) if key else None
                job, is_new = await self.copies.create(
                    earlier, application, call.caller, job_form, job_id, idempotency=mark
                )
                if not is_new:
                    await self.backend.depot.delete_prefix(f"jobs/{job_id}/")
                return see_other(job_urls(call, application.name).job(job.id))
        await self.backend.depot.delete_prefix(f"jobs/{job_id}/")
        return refused(request, entered_form(application, entries.fields, form.files, hits, earlier), hits)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/copy": Resource(
            "copy",
            Policy.READ,
            get=(show, "What a copy of the job would have, as JSON; as a page the form with its entries."),
            post=(
                create,
                "A new job of the caller's with the parameters and files of this one, in any phase; 303 to it. What "
                "is posted replaces all values of its name, an empty value takes them away, `WITHOUT=name` a file. "
                "`PHASE=RUN` starts it. Parameters that are not valid make no job: 400 with `problems`.",
            ),
        ),
    }


def _weight(job: Job) -> int:
    return sum(len(parameter.value) for parameter in job.parameters)
