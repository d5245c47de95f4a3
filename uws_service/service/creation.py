"""New jobs and attempts, as values to store."""

from __future__ import annotations

from dataclasses import replace

from uws_service.applications import Application, Checked, check, launch
from uws_service.applications.bounds import clamp_destruction, clamp_duration, quote
from uws_service.applications.provenance import chosen_values, unknown_parameters, versions
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.policy import Rules
from uws_service.domain.attempt import AWAITS_DATA, Attempt, Reason
from uws_service.domain.errors import Forbidden, UsageError
from uws_service.domain.job import Action, ErrorSummary, Job, Phase, apply
from uws_service.domain.jobinfo import JobInfo
from uws_service.offload import offload
from uws_service.placement.placer import Placer
from uws_service.service.caller import Caller
from uws_service.service.requests import Request
from uws_service.store import NewJob
from uws_service.store.grants import Grant

LOOK_UP = "looking up where its data are"


def pending_job(
    application: Application, caller: Caller, request: Request, job_id: str, now: int, *, listed: bool = True
) -> Job:
    """Return a PENDING job, within the application's limits."""
    limits = application.limits
    destruction: int | None = now + limits.retention.default * 1000 if limits.retention.default else None
    if request.destruction is not None:
        destruction = clamp_destruction(application, now, request.destruction, now)
    duration = request.duration if request.duration is not None else limits.execution_duration.default
    job = Job(
        id=job_id,
        application=application.name,
        owner=caller.owner,
        phase=Phase.PENDING,
        created=now,
        duration=clamp_duration(application, duration),
        destruction=destruction,
        run_id=request.run_id,
        parameters=request.parameters,
        info=JobInfo(notices=unknown_parameters(application, request.parameters)),
        listed=listed,
    )
    return replace(job, quote=quote(job, now))


class Starter:
    """Starts jobs: parameters, site, access to data."""

    def __init__(self, placer: Placer, rules: Rules, data: DataAccess | None) -> None:
        self.placer = placer
        self.rules = rules
        self.data = data

    async def start(self, job: Job, application: Application, caller: Caller, number: int, now: int) -> NewJob:
        """Return a started job, its attempt and grants.

        A job whose parameters are not valid is in ERROR then, without an attempt (T-013).
        """
        try:
            weight = sum(len(parameter.value) for parameter in job.parameters)
            checked = await offload(weight, check, application, job.parameters)
            placement = await self.placer.place(job, application, group=caller.identity.group)
        except UsageError as error:
            summary = ErrorSummary(error.message, transient=False, reason=Reason.USAGE, detail=error.detail)
            return apply(job, Action.REFUSE, now, error=summary), None, ()
        grants = await self._grants(job, application, checked, caller)
        queued = apply(job, Action.RUN, now)
        plan = await offload(weight, launch, application, queued, checked, number)
        site = placement.choice.site
        described = placement.described(job.info)
        info = replace(
            described,
            attempt=number,
            waiting=LOOK_UP if checked.data else described.waiting,
            defaults=chosen_values(application, job.parameters, checked.format, checked.maxrec),
            versions=versions(application, image=bool(site) and self.placer.runs_containers(site)),
        )
        attempt = Attempt(
            job_id=job.id,
            number=number,
            site=site,
            application=job.application,
            owner=job.owner or "",
            group=caller.identity.group,
            created=now,
            not_before=AWAITS_DATA if checked.data else 0,
            cpu_requested=application.resources.cpu,
            memory_requested=application.resources.memory,
            owner_slots=self.rules.quota(caller.identity).running if self.rules.has_quotas else None,
            launch=replace(plan, group=caller.identity.group),
        )
        return replace(queued, quote=quote(queued, now), info=info), placement.applied(attempt), grants

    async def _grants(self, job: Job, application: Application, checked: Checked, caller: Caller) -> tuple[Grant, ...]:
        if self.data is not None:
            return await self.data.obtain(
                job, application, checked.inputs, caller.identity, caller.token, has_data=bool(checked.data)
            )
        if application.data_token is not None:
            raise Forbidden(f"The application {application.name!r} needs access to data, and no issuer gives it here.")
        return ()
