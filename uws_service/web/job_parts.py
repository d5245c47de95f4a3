"""Parameters, results and logs of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import Forbidden, NotFound, UsageError
from uws_service.domain.job import Job, Parameter, Phase, Result
from uws_service.offload import offload
from uws_service.protocol import negotiation, uws
from uws_service.protocol.file_names import with_ending
from uws_service.service.uploads import Account
from uws_service.web import document_pages
from uws_service.web.call import Call, account_of, call_of
from uws_service.web.downloads import file_response
from uws_service.web.intake import Posted, job_request, posted
from uws_service.web.job_handlers import JobHandlers
from uws_service.web.job_view import job_urls
from uws_service.web.provenance import provenance_link
from uws_service.web.replies import NO_STORE, TEXT, XML, html_reply, job_weight, json_reply, see_other, text_reply
from uws_service.web.resource import Resource


class JobParts(JobHandlers):
    """Handlers of a job's parameters, results and logs."""

    async def parameters(self, request: Request) -> Response:
        """GET {job}/parameters: U-036."""
        job = await self._job(request)
        urls = job_urls(call_of(request), job.application)
        if negotiation.choose(request.headers.get("accept"), ("xml", "json")) == "json":
            return await offload(job_weight(job), json_reply, lambda: uws.job_json(job, urls=urls)["parameters"])
        return Response(await offload(job_weight(job), uws.parameters_xml, job, urls=urls), 200, NO_STORE, XML)

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
        changes = job_request(form, creating=False)
        await self.service.set_parameters(job.application, job.id, call.caller, changes)

    async def _pending(self, request: Request) -> Job:
        """Return the job, if its parameters may be changed.

        It is asked for before a body is read.
        """
        job = await self._job(request, write=True)
        if job.phase is not Phase.PENDING:
            raise Forbidden(f"Parameters can be changed only while the job is PENDING; it is {job.phase.value}.")
        return job

    async def parameter(self, request: Request) -> Response:
        """GET {job}/parameters/{name}: an upload, or a value as text.

        U-038, U-080, U-124.
        """
        job = await self._job(request)
        name = request.path_params["name"].upper()
        matches = [parameter for parameter in job.parameters if parameter.name.upper() == name]
        if not matches:
            raise NotFound(f"The job has no parameter {request.path_params['name']!r}.")
        number = request.query_params.get("value", "1")
        if not re.fullmatch(r"\d{1,9}", number, re.ASCII) or not 1 <= int(number) <= len(matches):
            raise NotFound(f"The parameter has {len(matches)} values; value={number[:16]!r} is not one of them.")
        parameter = matches[int(number) - 1]
        if parameter.upload is None:
            return text_reply(parameter.value)
        return await file_response(
            request,
            self.backend.depot,
            parameter.upload,
            size=parameter.size or 0,
            media_type=parameter.media_type or "application/octet-stream",
            etag=parameter.upload.rpartition("/")[2],
            filename=parameter.value or parameter.name,
        )

    async def put_parameter(self, request: Request) -> Response:
        """PUT {job}/parameters/{name}: the body is the value (U-039)."""
        job = await self._pending(request)
        call = call_of(request)
        with self.backend.uploads.account(call.identity, call.origin) as account:
            await self._put(request, call, job, account)
        return see_other(job_urls(call, job.application).job(job.id))

    async def _put(self, request: Request, call: Call, job: Job, account: Account) -> None:
        body = bytearray()
        async for chunk in request.stream():
            account.hold(len(chunk))
            body += chunk
            if len(body) > self.limits.value:
                raise UsageError(f"A value has at most {self.limits.value} bytes.")
        try:
            value = body.decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError("A value must be text in UTF-8; post a file in a multipart form.") from None
        name = request.path_params["name"].upper()
        names = [parameter.name for parameter in job.parameters if parameter.name.upper() == name]
        if not names:
            raise NotFound("Only a parameter that the job has can be put; post new ones to /parameters.")
        changes = job_request(Posted(((names[0], value),)), creating=False)
        changes = replace(changes, parameters=(Parameter(names[0], value),))
        await self.service.set_parameters(job.application, job.id, call.caller, changes)

    async def results(self, request: Request) -> Response:
        """GET {job}/results: U-034, U-082."""
        job = await self.opus.added(await self._job(request), call_of(request).base)
        urls = job_urls(call_of(request), job.application)
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form == "html":
            base, application = call_of(request).base, self.service.application(job.application)
            return html_reply(document_pages.results_page(job, application, urls, base, account_of(request)))
        if form == "json":
            return await offload(job_weight(job), json_reply, lambda: uws.job_json(job, urls=urls)["results"])
        return Response(await offload(job_weight(job), uws.results_xml, job, urls=urls), 200, NO_STORE, XML)

    async def result(self, request: Request) -> Response:
        """GET {job}/results/{id}: U-035, D-041."""
        job = await self.opus.added(await self._job(request), call_of(request).base)
        name = request.path_params["name"]
        result = next((result for result in job.results if result.id == name), None)
        if result is None:
            raise _missing_result(job, name)
        if result.location:
            response = see_other(result.location)
        else:
            response = await self._file(request, job, result)
        urls = job_urls(call_of(request), job.application)
        response.headers["link"] = provenance_link(urls.job(job.id), urls.result(job.id, result.id))  # P-032
        return response

    async def _file(self, request: Request, job: Job, result: Result) -> Response:
        return await file_response(
            request,
            self.backend.depot,
            result.key,
            size=result.size,
            media_type=result.media_type,
            etag=result.sha256,
            filename=with_ending(f"{job.id}-{result.id}", result.media_type),
        )

    async def log(self, request: Request) -> Response:
        """GET {job}/logs/{name}: what the command printed.

        While it runs, the end of it so far.
        """
        job = await self._job(request)
        name = request.path_params["name"]
        if name not in ("stdout", "stderr"):
            raise NotFound(f"There is no log {name[:64]!r}; there are: stdout, stderr.")
        key = f"jobs/{job.id}/logs/{name}"
        stored = await self.backend.depot.head(key)
        if stored is not None:
            return await file_response(
                request,
                self.backend.depot,
                key,
                size=stored.size,
                media_type="text/plain; charset=utf-8",
                etag=f"{job.id}-{name}-{stored.size}",
                filename=f"{job.id}-{name}.txt",
            )
        attempts = await self.service.views.attempts(job.id)
        for attempt in reversed(attempts):
            text = await self.backend.live_log(attempt, name)
            if text is not None:
                return Response(text, 200, NO_STORE, TEXT)
        raise NotFound("There is no log yet." if job.phase in (Phase.PENDING, Phase.QUEUED) else "There is no log.")

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/results/{name}": Resource(
            "result", Policy.READ, get=(result, "One result; `Range` and `ETag` work.")
        ),
        "/{job_id}/results": Resource(
            "results", Policy.READ, get=(results, "The results: ids, links, sizes, media types.")
        ),
        "/{job_id}/parameters": Resource(
            "parameters",
            Policy.READ,
            Policy.WRITE,
            get=(parameters, "The parameters."),
            post=(set_parameters, "Add parameters and files while the job is PENDING; 303 to `{job}`."),
        ),
        "/{job_id}/parameters/{name}": Resource(
            "parameter",
            Policy.READ,
            Policy.WRITE,
            get=(parameter, "An uploaded file's bytes, or a value as text."),
            put=(put_parameter, "The body is the new value, while the job is PENDING."),
        ),
        "/{job_id}/logs/{name}": Resource(
            "log",
            Policy.READ,
            get=(log, "What the command printed, `stdout` or `stderr`; while it runs, the end of it so far."),
        ),
    }


def _missing_result(job: Job, name: str) -> NotFound:
    """Return why a job has no such result.

    It is the error of a job that failed, and the phase of others.
    """
    if job.error is not None:
        return NotFound(
            f"The job has no result {name!r}: it ended in phase {job.phase.value}: {job.error.message}",
            detail=job.error.detail,
        )
    ids = ", ".join(result.id for result in job.results) or "none"
    return NotFound(f"The job has no result {name!r}; it has: {ids}. Its phase is {job.phase.value}.")
