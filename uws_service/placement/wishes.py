"""What a job needs and wants of a site, by its parameters and its launch. Pure."""

from __future__ import annotations

from collections.abc import Collection

from uws_service.applications import Application
from uws_service.domain.attempt import Launch
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job
from uws_service.placement.locality import needs_of
from uws_service.placement.model import Wish, size_class
from uws_service.placement.shares import priority_of


def priority_of_job(job: Job) -> int:
    """Return the priority that the parameter PRIORITY gives a job among its owner's."""
    values = _values(job, "PRIORITY")
    return priority_of(values[-1]) if values else 0


def preferred_sites(job: Job) -> tuple[str, ...]:
    """Return the sites that the parameter PREFER names, in its order; several names are apart by commas."""
    names = dict.fromkeys(name.strip() for value in _values(job, "PREFER") for name in value.split(","))
    names.pop("", None)
    return tuple(names)


def require_known_sites(job: Job, sites: Collection[str]) -> None:
    """Raise `UsageError` unless there are all sites that a job prefers."""
    for name in preferred_sites(job):
        if name not in sites:
            raise UsageError(f"PREFER={name[:64]!r} is not known; sites: {', '.join(sites)}.")


def wish_of(
    job: Job, application: Application, group: str = "", launch: Launch | None = None, sites: Collection[str] = ()
) -> Wish:
    """Return what a job needs of a site.

    Without its launch, what its application says. Of what it prefers, the sites that there are count.
    """
    named = _values(job, "SITE")
    needs = launch if launch is not None else application.resources
    return Wish(
        application=application.name,
        owner=job.owner or "",
        group=group,
        site=named[-1] if named else None,
        cpu=needs.cpu,
        memory=needs.memory,
        gpus=needs.gpus,
        size_class=size_class(needs.cpu, needs.memory, needs.gpus, job.duration * 1000),
        duration_ms=job.duration * 1000,
        preferred=tuple(name for name in preferred_sites(job) if name in sites),
        data=needs_of(launch.data) if launch is not None else (),
    )


def _values(job: Job, name: str) -> list[str]:
    """Return what is not empty of a parameter."""
    return [item.value.strip() for item in job.parameters if item.name.upper() == name and item.value.strip()]
