"""Jobs that are done anew: from the record of an earlier one, with the same image, parameters and inputs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from uws_service import __version__
from uws_service.applications import Application, check
from uws_service.domain.errors import AuthenticationRequired, Conflict, Forbidden, NotFound, UsageError
from uws_service.domain.ids import new_id
from uws_service.domain.job import FINAL, Job, Phase
from uws_service.domain.record import InputRecord, Original, ResultRecord
from uws_service.offload import offload
from uws_service.protocol.provenance import own_result
from uws_service.service.caller import Caller
from uws_service.service.copies import copied_uploads
from uws_service.service.jobs import Service
from uws_service.service.requests import Request
from uws_service.service.uploads import Uploads

MAX_LISTED = 20
"""Reasons that a message names."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job that is done anew would be, and what stands in its way."""

    job: Job
    application: Application | None
    original: Original
    missing: tuple[str, ...] = ()
    """What is no longer there: the job can't be done anew."""
    differences: tuple[str, ...] = ()
    """What is not as it was: it can be, if the caller accepts that."""
    remarks: tuple[str, ...] = ()
    """What nobody can tell, because it was not recorded."""

    @property
    def results(self) -> tuple[ResultRecord, ...]:
        """Return what the earlier job's results were."""
        if self.job.phase is Phase.ARCHIVED:
            return self.job.info.results
        return tuple(ResultRecord(item.id, item.media_type, item.size, item.sha256) for item in self.job.results)

    def require_possible(self, accept: bool) -> Application:
        """Return the application.

        Raise `Conflict` if anything is in the way.
        """
        reasons = self.missing or (() if accept else self.differences)
        if reasons or self.application is None:
            hint = "" if self.missing else " DIFFERENCES=accept does it nevertheless."
            detail = "\n".join(reasons[:MAX_LISTED])
            raise Conflict(f"The job can't be done anew as it was: {' '.join(reasons[:3])}{hint}", detail=detail)
        return self.application


class Reruns:
    """Plans and makes jobs that are done anew."""

    def __init__(self, service: Service, uploads: Uploads) -> None:
        self.service = service
        self.uploads = uploads

    async def plan(self, application: str, job_id: str, caller: Caller, base: str) -> Plan:
        """Return whether a job can be done anew.

        Raises
        ------
        Conflict
            It has not ended, so its record is not complete.
        """
        job = await self.service.get(application, job_id, caller)
        if job.phase not in FINAL:
            raise Conflict(f"The job has not ended: its phase is {job.phase.value}. It can be done anew then.")
        present = self.service.applications.get(application)
        missing = [] if present is not None else [f"There is no application {application!r} any more."]
        missing += await self._missing_uploads(job)
        missing += await self._changed_results(job, caller, base)
        if present is not None:
            missing += await self._refused_parameters(present, job)
        original = Original(job.id, pinned_image(job), job.info.inputs)
        return Plan(
            job, present, original, tuple(missing), tuple(_differences(job, present)), tuple(_remarks(job, original))
        )

    async def _missing_uploads(self, job: Job) -> list[str]:
        sentences = []
        for parameter in job.parameters:
            if parameter.upload is None:
                continue
            name = f"The uploaded file {parameter.value or parameter.name!r} of {parameter.name}"
            stored = await self.uploads.depot.head(parameter.upload)
            if stored is None:
                sentences.append(f"{name} is no longer there.")
            elif parameter.size is not None and stored.size != parameter.size:
                sentences.append(f"{name} has {stored.size} bytes; it had {parameter.size}.")
        return sentences

    async def _changed_results(self, job: Job, caller: Caller, base: str) -> list[str]:
        """Return which inputs are results of jobs here that are gone, or no longer the caller's to see."""
        sentences = []
        for record in job.info.inputs:
            source = own_result(record.source, base)
            if source is None:
                continue
            try:
                before = await self.service.get(source.application, source.job_id, caller)
            except (NotFound, Forbidden, AuthenticationRequired):
                before = None
            digests = {result.id: result.sha256 for result in before.results} if before is not None else {}
            digest = digests.get(source.result)
            if digest is None:
                sentences.append(f"{record.parameter}: the result {record.source} is no longer there.")
            elif digest != record.checksums.get("sha256", digest):
                sentences.append(f"{record.parameter}: the result {record.source} has another content.")
        return sentences

    async def _refused_parameters(self, application: Application, job: Job) -> list[str]:
        weight = sum(len(parameter.value) for parameter in job.parameters)
        try:
            await offload(weight, check, application, job.parameters)
        except UsageError as error:
            return [f"The application does not take its parameters: {error.message}"]
        return []

    async def create(
        self, plan: Plan, caller: Caller, *, run: bool, accept: bool = False, idempotency: tuple[str, str] | None = None
    ) -> tuple[Job, bool]:
        """Make the job anew, with copies of its uploads; return it and whether it is new.

        Raises
        ------
        Conflict
            Something is missing, or different and not accepted: the message says what.
        """
        application = plan.require_possible(accept)
        self.service.rules.require_use(application, caller.identity)
        job_id = new_id(self.service.clock())
        prefix = f"jobs/{job_id}/uploads/{secrets.token_hex(6)}"
        depot = self.uploads.depot
        hold = depot.hold(prefix)
        hold.begin()
        with self.uploads.account(caller.identity, caller.origin) as account:
            try:
                parameters, digests = await copied_uploads(self.uploads, plan.job, plan.job.parameters, prefix, account)
                request = Request(
                    parameters=parameters,
                    run=run,
                    duration=plan.job.duration,
                    digests=digests,
                    original=plan.original,
                )
                job, is_new = await self.service.create(
                    application, caller, request, job_id=job_id, idempotency=idempotency
                )
            except Exception:
                await depot.delete_prefix(f"jobs/{job_id}/")
                raise
            finally:
                await hold.release()
        if not is_new:
            await depot.delete_prefix(f"jobs/{job_id}/")
        return job, is_new


def pinned_image(job: Job) -> str:
    """Return the image of a job with its digest; empty if it had none of its own, or the digest is not known.

    One that came to a node without a registry has an id there that no other site could pull.
    """
    image = job.info.versions.get("image", "")
    return image if "@sha256:" in image else job.info.image if image else ""


def _differences(job: Job, application: Application | None) -> Sequence[str]:
    recorded = job.info.versions.get("application")
    if application is None or recorded is None or recorded == application.version:
        return ()
    return (f"The application was of version {recorded}; now it is of version {application.version}.",)


def _remarks(job: Job, original: Original) -> list[str]:
    versions = job.info.versions
    remarks = []
    service = versions.get("service")
    if service is not None and service != __version__:
        remarks.append(f"The service was of version {service}; now it is of version {__version__}.")
    if versions.get("image") and not original.image:
        remarks.append(f"Of the image {versions['image']} no digest is recorded; its tag may mean another one now.")
    remarks += [f"Of {_place(record)} no checksum is recorded." for record in original.inputs if not record.checksum]
    return remarks


def _place(record: InputRecord) -> str:
    return f"{record.parameter} ({record.source or record.path})"
