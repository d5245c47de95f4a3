"""New jobs and attempts, as values to store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from uws_service.applications import Application, Checked, check, launch
from uws_service.applications.bounds import clamp_destruction, clamp_duration, quote
from uws_service.applications.provenance import chosen_values, input_records, unknown_parameters, versions
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.policy import Rules
from uws_service.containers import Containers, Reference, parse_reference
from uws_service.domain.attempt import AWAITS_DATA, Attempt, Launch, Reason
from uws_service.domain.errors import Forbidden, NoSite, UsageError
from uws_service.domain.job import Action, ErrorSummary, Job, Parameter, Phase, apply
from uws_service.domain.jobinfo import JobInfo
from uws_service.domain.meter import Meter
from uws_service.domain.record import Original
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
    asked = request.duration if request.duration is not None else limits.execution_duration.default
    duration = clamp_duration(application, asked)
    return Job(
        id=job_id,
        application=application.name,
        owner=caller.owner,
        phase=Phase.PENDING,
        created=now,
        duration=duration,
        destruction=destruction,
        run_id=request.run_id,
        parameters=request.parameters,
        info=JobInfo(
            client_id=request.client_id,
            notices=(*request.notices, *unknown_parameters(application, request.parameters)),
            digests=request.digests,
            secret_names=tuple(spec.name for spec in application.parameters if spec.secret),
            original=request.original,
        ),
        listed=listed,
        quote=quote(duration, now),
    )


class Starter:
    """Starts jobs: parameters, site, access to data.

    Parameters
    ----------
    containers
        Which images jobs may name themselves; None: no image at all.
    meter
        What jobs cost, and from which budgets they are paid.
    """

    def __init__(
        self,
        placer: Placer,
        rules: Rules,
        data: DataAccess | None,
        containers: Containers | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.placer = placer
        self.rules = rules
        self.data = data
        self.containers = containers
        self.meter = meter or Meter()

    async def start(self, job: Job, application: Application, caller: Caller, number: int, now: int) -> NewJob:
        """Return a started job, its attempt and grants.

        A job whose parameters are not valid is in ERROR then, without an attempt (T-013).
        """
        try:
            weight = sum(len(parameter.value) for parameter in job.parameters)
            checked = await offload(weight, check, application, job.parameters)
            checked = _as_before(checked, job.info.original)
            plan = await offload(weight, self._plan, job, application, checked, number, caller)
            placement = await self.placer.place(job, application, plan, group=caller.identity.group)
        except UsageError as error:
            reason = Reason.NO_SITE if isinstance(error, NoSite) else Reason.USAGE
            summary = ErrorSummary(error.message, transient=False, reason=reason, detail=error.detail)
            return apply(job, Action.REFUSE, now, error=summary), None, ()
        grants = await self._grants(job, application, checked, caller)
        queued = apply(job, Action.RUN, now)
        site = placement.choice.site
        described = placement.described(job.info)
        estimate = self.meter.estimate(
            placement.choice.willing or (site,), plan, job.duration, caller.identity.group, now
        )
        info = replace(
            described,
            attempt=number,
            waiting=LOOK_UP if checked.data else described.waiting,
            defaults=chosen_values(application, job.parameters, checked.format, checked.maxrec),
            versions=versions(application, self.placer.image_at(site, application, plan)),
            estimate=estimate.texts(),
            inputs=input_records(checked.inputs, job.info.digests, job.parameters),
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
            cpu_requested=plan.cpu,
            memory_requested=plan.memory,
            gpus=plan.gpus,
            owner_slots=self.rules.quota(caller.identity).running if self.rules.has_quotas else None,
            launch=replace(plan, group=caller.identity.group),
            holds=self.meter.holds(job.owner or "", caller.identity.group, estimate, now),
        )
        expected = (await self.placer.experience()).ends.get((job.application, placement.size_class))
        after = replace(queued, quote=None if expected is None else now + expected, info=info)
        return after, placement.applied(attempt), grants

    def estimated(self, job: Job, application: Application, group: str) -> Job:
        """Return a job that does not run yet with what it costs at most."""
        sites = self.meter.sites
        estimate = self.meter.estimate(sites, application.resources, job.duration, group, job.created)
        texts = estimate.texts()
        return replace(job, info=replace(job.info, estimate=texts)) if texts else job

    def require_possible(self, application: Application, parameters: Sequence[Parameter], caller: Caller) -> None:
        """Raise `UsageError` for parameters with which a job would end in ERROR at RUN, whatever the sites are."""
        checked = check(application, parameters)
        if application.standard.names_image:
            self._sites_of(parse_reference(checked.values["IMAGE"][0]), caller)

    def _plan(self, job: Job, application: Application, checked: Checked, number: int, caller: Caller) -> Launch:
        """Return what the job runs, and where it may."""
        plan = launch(application, job, checked, number)
        original = job.info.original
        if original is not None and original.image and plan.image:
            plan = replace(plan, image=original.image)
        if not application.standard.names_image:
            return plan
        return replace(plan, sites=self._sites_of(parse_reference(plan.image), caller))

    def _sites_of(self, image: Reference, caller: Caller) -> tuple[str, ...]:
        """Return the sites at which a caller may run an image; empty: all."""
        if self.containers is None:
            raise UsageError("No image is allowed here: the service has no list of images.")
        return tuple(sorted(self.containers.sites_for(image, caller.identity.groups) or ()))

    async def _grants(self, job: Job, application: Application, checked: Checked, caller: Caller) -> tuple[Grant, ...]:
        if self.data is not None:
            return await self.data.obtain(
                job, application, checked.inputs, caller.identity, caller.token, has_data=bool(checked.data)
            )
        if application.data_token is not None:
            raise Forbidden(f"The application {application.name!r} needs access to data, and no issuer gives it here.")
        return ()


def _as_before(checked: Checked, original: Original | None) -> Checked:
    """Return the parameters with the digests that fetched files must have, in a job that is done anew.

    An agent refuses other content, so the job ends with an error that says so.
    """
    if original is None:
        return checked
    digests = {
        record.path: record.checksums["sha256"]
        for record in original.inputs
        if not record.is_data and "sha256" in record.checksums
    }
    inputs = tuple(
        replace(item, checksums={"sha256": digests[item.path]}) if item.url and item.path in digests else item
        for item in checked.inputs
    )
    return replace(checked, inputs=inputs)
