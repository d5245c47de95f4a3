"""Pages for people: the same jobs as in XML and JSON, rendered on the server, without any script.

The content security policy allows the pages' own style sheet and forms, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from uws_service.applications import Application
from uws_service.attempt import Attempt
from uws_service.job import FINAL, PHASE_MEANING, Action, Job, Phase, allowed_actions
from uws_service.protocol.uws import JobInfoView, JobUrls, format_instant, is_reference
from uws_service.store import JobRef

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
REFRESH = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN})
"""Phases in which the page of a job reloads itself."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("uws_service.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["instant"] = lambda ms: "" if ms is None else format_instant(ms).replace("T", " ")
    environment.filters["bytes"] = human_size
    return environment


def _page(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


def human_size(number: int | None) -> str:
    """A size as a person reads it, the exact bytes beside."""
    if number is None:
        return ""
    value, unit = float(number), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{number} B" if unit == "B" else f"{value:.1f} {unit} ({number} B)"


def root_page(applications: Sequence[Application], base: str) -> str:
    """The applications of the service."""
    return _page("root.html", applications=applications, base=base)


def application_page(application: Application, base: str) -> str:
    """What an application does and takes, and a form that makes a job."""
    return _page("application.html", application=application, base=base, url=f"{base}/{application.name}")


def jobs_page(
    application: Application, refs: Sequence[JobRef], urls: JobUrls, phases: frozenset[Phase] | None, last: int | None
) -> str:
    """The caller's jobs."""
    return _page(
        "jobs.html",
        application=application,
        base=_base(urls, application),
        refs=refs,
        urls=urls,
        phases=phases or (),
        all_phases=list(Phase),
        last=last,
    )


def job_page(job: Job, application: Application, attempts: Sequence[Attempt], urls: JobUrls, now: int) -> str:
    """One job: all that its document says, and what the caller may do with it."""
    actions = [action for action in allowed_actions(job.phase) if action in (Action.RUN, Action.ABORT)]
    return _page(
        "job.html",
        job=job,
        application=application,
        attempts=attempts,
        urls=urls,
        base=_base(urls, application),
        url=urls.job(job.id),
        info=JobInfoView.of(job, urls),
        meaning=PHASE_MEANING[job.phase],
        parameters=[(one, is_reference(one)) for one in job.parameters],
        actions=actions,
        refresh=job.phase in REFRESH,
        final=job.phase in FINAL,
        age=_age(job, now),
    )


def error_page(status: int, title: str, message: str, detail: str) -> str:
    """An error, for people."""
    return _page("error.html", status=status, title=title, message=message, detail=detail, base="")


def _base(urls: JobUrls, application: Application) -> str:
    return urls.jobs.removesuffix(f"/{application.name}/async")


def _age(job: Job, now: int) -> str:
    """How long a job has run, or ran."""
    if job.started is None:
        return ""
    return f"{((job.ended or now) - job.started) / 1000:.1f} s"
