"""Do a job anew from its record (no part of UWS)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.record import InputRecord
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.service.requests import Request as JobRequest
from uws_service.service.requests import fingerprint
from uws_service.service.reruns import Plan, Reruns
from uws_service.web.call import Call, call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.intake import idempotency_key
from uws_service.web.job_handlers import JobHandlers, JobPath
from uws_service.web.job_view import job_urls
from uws_service.web.pages import render
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource


class Rerun(JobHandlers):
    """Handlers of ``{job}/rerun``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        super().__init__(backend, faces)
        self.reruns = Reruns(backend.service, backend.uploads)

    async def _plan(self, request: Request) -> Plan:
        call, path = call_of(request), JobPath.of(request)
        return await self.reruns.plan(path.application, path.job_id, call.caller, call.base)

    async def show(self, request: Request) -> Response:
        """GET {job}/rerun: whether it can be done anew, and what from."""
        plan = await self._plan(request)
        url = job_urls(call_of(request), plan.job.application).job(plan.job.id)
        document = {
            "job": url,
            "possible": not plan.missing,
            "same": not plan.missing and not plan.differences,
            "missing": list(plan.missing),
            "differences": list(plan.differences),
            "remarks": list(plan.remarks),
            "image": plan.original.image or None,
            "versions": dict(plan.job.info.versions),
            "inputs": [_input_json(record) for record in plan.original.inputs],
            "results": [
                {"id": item.id, "mime-type": item.media_type, "size": item.size, "sha256": item.sha256}
                for item in plan.results
            ],
        }
        return JSONResponse(document, headers=NO_STORE)

    async def create(self, request: Request) -> Response:
        """POST {job}/rerun: a new job from the record of this one; 303 to it.

        The caller needs no more than to read the job: what is posted could be read off it. The new job is the
        caller's own, under the rules for new jobs.
        """
        call, path = call_of(request), JobPath.of(request)
        key = idempotency_key(request)
        async with self._small_form(request, path.job_id) as form:
            phase, differences = form.word("PHASE"), form.word("DIFFERENCES")
        if phase is not None and phase.upper() != "RUN":
            raise UsageError(f"PHASE={phase[:32]!r} is not possible when a job is made; possible: RUN.")
        if differences is not None and differences.lower() not in ("accept", "refuse"):
            raise UsageError(f"DIFFERENCES={differences[:32]!r} is not possible; possible: accept, refuse.")
        await self._require_new_jobs(request)
        plan = await self._plan(request)
        run = phase is not None
        is_accepted = differences is not None and differences.lower() == "accept"
        if (plan.missing or (plan.differences and not is_accepted)) and _is_page(request):
            return _question(plan, call)
        marker = JobRequest(run=run, run_id=f"rerun {plan.job.id}")
        job, _ = await self.reruns.create(
            plan,
            call.caller,
            run=run,
            accept=is_accepted,
            idempotency=(key, fingerprint(marker, ())) if key else None,
        )
        return see_other(job_urls(call, path.application).job(job.id))

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/rerun": Resource(
            "rerun",
            Policy.READ,
            get=(show, "Whether an ended job can be done anew, what is no longer there or is different, as JSON."),
            post=(
                create,
                "A new job of the caller's with the same image digest, parameters and inputs; 303 to it. `PHASE=RUN` "
                "starts it; 409 lists what is missing; `DIFFERENCES=accept` takes what is different.",
            ),
        ),
    }


def _is_page(request: Request) -> bool:
    return negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"


def _question(plan: Plan, call: Call) -> Response:
    """Return the page that says what is in the way, and asks whether to go on."""
    url = job_urls(call, plan.job.application).job(plan.job.id)
    response = html_reply(render("rerun.html", call.base, url=url, missing=plan.missing, differences=plan.differences))
    response.status_code = 409
    return response


def _input_json(record: InputRecord) -> dict[str, Any]:
    return {
        "parameter": record.parameter,
        "path": record.path or None,
        "source": record.source or None,
        "size": record.size,
        "checksums": dict(record.checksums),
    }
