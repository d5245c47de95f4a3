"""New jobs by a form: it is shown, checked before there is a job, and sent (no part of UWS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications import Application
from uws_service.applications.problems import Problem, problems
from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Parameter
from uws_service.offload import offload
from uws_service.protocol import negotiation
from uws_service.service.requests import Request as JobRequest
from uws_service.web.call import account_of, call_of
from uws_service.web.calls import calls
from uws_service.web.form_page import Form, entered_form, new_job_page
from uws_service.web.intake import Posted, job_request, posted
from uws_service.web.job_handlers import JobHandlers
from uws_service.web.job_view import job_urls
from uws_service.web.page_form import Entries, chosen_files, read_entries
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource

CHECK_BYTES = 1_048_576
CONTROL_WORDS = ("PHASE", "DESTRUCTION", "EXECUTIONDURATION", "RUNID")


class NewJob(JobHandlers):
    """Handlers of ``/{application}/new`` and ``/{application}/check``."""

    def _application(self, request: Request) -> Application:
        return self.service.application(request.path_params["application"])

    async def form(self, request: Request) -> Response:
        """GET /{application}/new: the form, with parameters of the query as its entries."""
        application = self._application(request)
        entries = [(name, value[:CHECK_BYTES]) for name, value in request.query_params.multi_items()]
        run_id = next((value for name, value in entries if name.upper() == "RUNID"), "")
        parameters = [Parameter(name, value) for name, value in entries]
        form = Form(application, parameters, run_id, controls={name.upper(): value for name, value in entries})
        return html_reply(new_job_page(form, call_of(request).base, account_of(request)))

    async def create(self, request: Request) -> Response:
        """POST /{application}/new: a job, or the form with what is wrong."""
        call, application = call_of(request), self._application(request)
        job_id = new_id(self.service.clock())
        async with posted(request, self.backend.uploads, self.limits, job_id) as form:
            entries = read_entries(form.fields, form.files)
            hits, job_form = await judged(entries, form, application)
            if not hits and job_form is not None:
                job, _ = await self.service.create(application, call.caller, job_form, job_id=job_id)
                return see_other(job_urls(call, application.name).job(job.id))
        await self.backend.depot.delete_prefix(f"jobs/{job_id}/")
        return refused(request, entered_form(application, entries.fields, form.files, hits), hits)

    async def check(self, request: Request) -> Response:
        """POST /{application}/check: what is wrong with parameters; no job is made."""
        call, application = call_of(request), self._application(request)
        limits = self.limits.model_copy(update={"body": CHECK_BYTES, "files": 0})
        async with posted(request, self.backend.uploads, limits, "check") as form:
            chosen = [value for name, value in form.fields if name == "FILE"]
            fields = [pair for pair in form.fields if pair[0] != "FILE"]
        files = chosen_files(chosen)
        entries = read_entries(fields, files)
        plain = replace(form, fields=tuple(fields), files=tuple(files))
        hits, _ = await judged(entries, plain, application)
        words = [(name, value) for name, value in entries.fields if value and name.upper() != "PHASE"]
        named_files = [(file.name, file.value or file.name) for file in files]
        shown = calls(words, named_files, f"{call.base}/{application.name}")
        document = {
            "ok": not hits,
            "problems": [{"parameter": hit.parameter, "message": hit.message} for hit in hits],
            "calls": shown._asdict(),
        }
        return JSONResponse(document, headers=NO_STORE)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/new": Resource(
            "new_job",
            Policy.USE,
            get=(form, "The form of a new job; what the query has is entered already."),
            post=(
                create,
                "As `POST {jobs}`, but parameters that are not valid make no job: 400 with the form, or as JSON with "
                "`problems`.",
            ),
        ),
        "/{application}/check": Resource(
            "check",
            Policy.USE,
            post=(
                check,
                "What is wrong with parameters, by name, as JSON; no job is made. `FILE=part:bytes:name` stands for "
                "a file. `calls` is the request by curl, pyvo and the command line.",
            ),
        ),
    }


async def judged(entries: Entries, form: Posted, application: Application) -> tuple[list[Problem], JobRequest | None]:
    """Return what is wrong with a form's entries, and the request that they are if nothing is."""
    job_form, hits = request_of(form, tuple(pair for pair in entries.fields if pair[1]))
    if job_form is not None:
        hits += await offload(form.weight, problems, application, job_form.parameters)
    return [*entries.problems, *hits], job_form


def request_of(form: Posted, fields: Sequence[tuple[str, str]]) -> tuple[JobRequest | None, list[Problem]]:
    """Return the request that fields are, or what is wrong with its control words.

    A page sends those that were left empty too.
    """
    left = tuple(pair for pair in fields if pair[1] or pair[0].upper() not in CONTROL_WORDS)
    try:
        return job_request(replace(form, fields=left)), []
    except UsageError as error:
        word = next((name for name in CONTROL_WORDS if error.message.startswith(name)), "")
        return None, [Problem(word, error.message)]


def refused(request: Request, form: Form, hits: Sequence[Problem]) -> Response:
    """Return what is wrong, as a form with the entries or as JSON."""
    call = call_of(request)
    if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
        response = html_reply(new_job_page(form, call.base, account_of(request)))
        response.status_code = 400
        return response
    listed = [{"parameter": hit.parameter, "message": hit.message} for hit in hits]
    message = hits[0].message if hits else "The parameters are not valid."
    document = {"status": 400, "error": "UsageError", "message": message, "problems": listed}
    return JSONResponse(document, 400, headers=NO_STORE)
