"""The face that SRCNet's client of a computing broker speaks: ``/v1/jobs``.

A job that is made here is a job of a container application, and each of its jobs is shown here. A client names its
jobs itself: the name is an idempotency key of the owner, and so nobody else's name can mean the same job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.containers import CONTAINER
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import (
    AuthenticationRequired,
    BudgetExceeded,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    NotFound,
    QueueFull,
    QuotaExceeded,
    TooLarge,
    UnsupportedMediaType,
    UsageError,
    UwsError,
)
from uws_service.domain.ids import new_id
from uws_service.domain.job import FINAL, Job, Phase
from uws_service.offload import offload
from uws_service.protocol.broker_request import Submission, is_client_id, is_own_id, parse_submission
from uws_service.protocol.broker_status import PHASES_OF_STATES, log_json, state_of, status_json, summary_json
from uws_service.service.backend import Backend
from uws_service.service.caller import Caller
from uws_service.service.requests import Request as JobRequest
from uws_service.service.requests import fingerprint
from uws_service.web.call import call_of
from uws_service.web.faces.base import Face
from uws_service.web.faces.plain import PlainHandlers
from uws_service.web.replies import NO_STORE
from uws_service.web.resource import ErrorBody, Resource

MAX_BODY_BYTES = 2 * 2**20
MAX_LIMIT = 500
MAX_OFFSET = 10_000
MAX_LOOKED_AT = 1_000
"""Jobs of a list that are looked at for those in a state."""
LOG_BYTES = 2**20
"""Of each log, its end."""
KEY = "srcnet-broker "
"""Begins the idempotency keys of this face: those of others mean nothing here."""


class BrokerHandlers(PlainHandlers):
    """The jobs of the application that the settings name."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.application_name = backend.srcnet_broker or ""

    @property
    def has_resources(self) -> bool:
        """Return whether the settings name an application."""
        return bool(self.application_name)

    def own_error(self, error: UwsError, request: Request) -> ErrorBody:
        """Return an error as the client reads it.

        A quota's is 402.
        """
        detail = f"{error.message}\n{error.detail}" if error.detail else error.message
        status = 402 if isinstance(error, QuotaExceeded | QueueFull | BudgetExceeded) else None
        return ErrorBody(json.dumps({"detail": detail}), "application/json", status)

    async def locate(self, caller: Caller, path: Mapping[str, Any]) -> dict[str, Any]:
        """Return application and job of a path that names a job as its client does.

        Raises
        ------
        AuthenticationRequired
            Nobody knows whose names they are.
        """
        application = self.service.application(self.application_name)
        self.backend.rules.require_list(application, caller.identity)
        if caller.owner is None and not self.backend.rules.lists_anonymous():
            raise AuthenticationRequired("Send a token: jobs of unknown callers have no names of their own.")
        located = {**path, "application": application.name}
        if (client_id := path.get("client_id")) is not None:
            job_id = None
            if is_client_id(client_id):  # other texts may be none that a database takes
                job_id = await self.service.find(application.name, caller, KEY + client_id)
            if job_id is None and not is_own_id(client_id):
                raise NotFound(f"You have no job {client_id[:64]!r}.")
            located["job_id"] = job_id or client_id
        return located

    def _application(self) -> Application:
        return self.service.application(self.application_name)

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: the process answers."""
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def submit(self, request: Request) -> Response:
        """POST /v1/jobs: a job that runs.

        Nothing can fail after it is stored: the answer is made of what is in memory.
        """
        call, application = call_of(request), self._application()
        body = await _body(request)
        submission = await offload(len(body), parse_submission, body)
        _require_declared(application, submission)
        if await self.service.find(application.name, call.caller, KEY + submission.job_id) is None:
            await self.service.require_possible(application, submission.parameters, call.caller)
        job_request = JobRequest(
            parameters=submission.parameters,
            run=True,
            run_id=submission.job_id,
            duration=submission.duration,
            client_id=submission.job_id,
            notices=submission.notices,
        )
        key = KEY + submission.job_id, await offload(len(body), fingerprint, job_request, ())
        try:
            job, fresh = await self.service.create(
                application, call.caller, job_request, job_id=new_id(self.service.clock()), idempotency=key
            )
        except IdempotencyConflict:
            raise Conflict(f"You have another job {submission.job_id!r}; choose another id.") from None
        return JSONResponse(summary_json(job, None, {}), 201 if fresh else 200, headers=NO_STORE)

    async def jobs(self, request: Request) -> Response:
        """GET /v1/jobs: the caller's jobs, newest first."""
        state, limit, offset = _list_query(request)
        summaries: list[dict[str, Any]] = []
        truncated = False
        if state is None or PHASES_OF_STATES[state]:
            summaries, truncated = await self._listed(call_of(request).caller, state, limit, offset)
        return JSONResponse({"jobs": summaries, "truncated": truncated}, headers=NO_STORE)

    async def _listed(
        self, caller: Caller, state: str | None, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a part of the list, and whether older jobs were not looked at."""
        phases = PHASES_OF_STATES[state] if state is not None else None
        last = limit + offset if state is None else MAX_LOOKED_AT
        summaries: list[dict[str, Any]] = []
        number = matches = 0
        async for refs in self.service.views.jobs(self.application_name, caller, phases=phases, last=last):
            for ref in refs:
                number += 1
                if state is None and number <= offset:
                    continue
                summary = await self._summary(ref.id, caller)
                if summary is None or state not in (None, summary["state"]):
                    continue
                matches += 1
                if state is not None and matches <= offset:
                    continue
                summaries.append(summary)
                if len(summaries) == limit:
                    return summaries, False
        return summaries, state is not None and number >= MAX_LOOKED_AT

    async def _summary(self, job_id: str, caller: Caller) -> dict[str, Any] | None:
        """Return a job of a list.

        None if it was deleted a moment ago.
        """
        try:
            job = await self.service.get(self.application_name, job_id, caller)
        except NotFound:
            return None
        attempt = await self._attempt(job) if job.phase is Phase.QUEUED else None
        return summary_json(job, attempt, self._place(job))

    async def status(self, request: Request) -> Response:
        """GET /v1/jobs/{id}."""
        call = call_of(request)
        job = await self._job(request)
        attempt = await self._attempt(job) if job.phase is Phase.QUEUED else None
        events = await self.service.views.events(job.id)
        base = f"{call.base}/{job.application}/async/{job.id}"
        return JSONResponse(status_json(job, attempt, self._place(job), events, base), headers=NO_STORE)

    async def cancel(self, request: Request) -> Response:
        """POST /v1/jobs/{id}/cancel; of a canceled job it changes nothing, of another ended one it is 409."""
        path, caller = request.path_params, call_of(request).caller
        try:
            job = await self.service.abort(path["application"], path["job_id"], caller)
        except Forbidden:
            job = await self.service.get(path["application"], path["job_id"], caller, write=True)
            if job.phase not in FINAL:
                raise
            raise Conflict(f"The job has ended ({state_of(job, None).name}); it can't be canceled.") from None
        return JSONResponse(summary_json(job, None, {}), headers=NO_STORE)

    async def logs(self, request: Request) -> Response:
        """GET /v1/jobs/{id}/logs: what the command printed, or the end of it."""
        job = await self._job(request)
        attempt = await self._attempt(job) if job.phase not in FINAL else None
        base = f"{call_of(request).base}/{job.application}/async/{job.id}/logs"
        streams = {name: await self._log(job, attempt, name, f"{base}/{name}") for name in ("stdout", "stderr")}
        document = {
            "job_id": job.info.client_id or job.id,
            **streams,
            "backend_details": self._place(job),
            "task_logs": [],
        }
        return JSONResponse(document, headers=NO_STORE)

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _job(self, request: Request) -> Job:
        path = request.path_params
        return await self.service.get(path["application"], path["job_id"], call_of(request).caller)

    async def _attempt(self, job: Job) -> Attempt | None:
        """Return the latest attempt."""
        attempts = await self.service.views.attempts(job.id)
        return attempts[-1] if attempts else None

    def _place(self, job: Job) -> Mapping[str, str]:
        """Return where the latest attempt is, or was."""
        number = job.info.attempt
        return self.backend.site_details(job.info.site, job.id, number) if number is not None else {}

    async def _log(self, job: Job, attempt: Attempt | None, name: str, path: str) -> dict[str, Any]:
        depot, key = self.backend.depot, f"jobs/{job.id}/logs/{name}"
        stored = await depot.head(key)
        if stored is not None:
            start = max(0, stored.size - LOG_BYTES)
            content = b"".join([chunk async for chunk in depot.read(key, start, stored.size)]) if stored.size else b""
            return log_json(content, path, stored.size)
        live = await self.backend.live_log(attempt, name) if attempt is not None else None
        return log_json(live, path, None)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/healthz": Resource("broker-health", Policy.PROBE, get=(healthz, "200 as long as the process answers.")),
        "/v1/jobs/{client_id}": Resource(
            "broker-job",
            Policy.READ,
            error_form=own_error,
            own_errors=True,
            locate=locate,
            get=(status, "A job's state for SRCNet's broker client, by the client's id or the job's own."),
        ),
        "/v1/jobs/{client_id}/logs": Resource(
            "broker-logs",
            Policy.READ,
            error_form=own_error,
            own_errors=True,
            locate=locate,
            get=(logs, "The end of what the job's command printed."),
        ),
        "/v1/jobs/{client_id}/cancel": Resource(
            "broker-cancel",
            Policy.WRITE,
            error_form=own_error,
            own_errors=True,
            locate=locate,
            post=(cancel, "Abort the job."),
        ),
        "/v1/jobs": Resource(
            "broker-jobs",
            Policy.LIST,
            Policy.USE,
            error_form=own_error,
            own_errors=True,
            locate=locate,
            get=(jobs, "The caller's jobs, newest first, by `state`, `limit` and `offset`."),
            post=(submit, "A job of the application that `srcnet_broker` names, as SRCNet's broker client posts it."),
        ),
    }


def _require_declared(application: Application, submission: Submission) -> None:
    """Refuse parameters that the application does not have.

    They would only be a note.
    """
    for parameter in submission.parameters:
        if application.parameter(parameter.name) is None:
            raise UsageError(
                f"rucio_dids is not supported: the application {application.name!r} takes no data sets."
                if parameter.name == "DATASET"
                else f"The application {application.name!r} has no parameter {parameter.name}."
            )


async def _body(request: Request) -> bytes:
    """Return a JSON body."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("The body must be of the type application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
    return bytes(body)


def _list_query(request: Request) -> tuple[str | None, int, int]:
    """Return state, limit and offset of a list."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in ("state", "limit", "offset"):
            raise UsageError(f"{name[:64]!r} is not known; possible: state, limit, offset.")
        if name in values:
            raise UsageError(f"{name} is there twice.")
        values[name] = value
    state = values.get("state")
    if state is not None and state.upper() not in PHASES_OF_STATES:
        raise UsageError(f"state={state[:40]!r} is not known; possible: {', '.join(PHASES_OF_STATES)}.")
    limit = _count("limit", values.get("limit", "100"), 1, MAX_LIMIT)
    return (
        state.upper() if state is not None else None,
        limit,
        _count("offset", values.get("offset", "0"), 0, MAX_OFFSET),
    )


def _count(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise UsageError(f"{name}={text[:40]!r} must be a whole number from {least} to {most}.")
    return int(text)


SRCNET_BROKER = Face(CONTAINER, BrokerHandlers)
