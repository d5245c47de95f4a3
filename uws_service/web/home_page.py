"""The first page, and the pages that say what an application does (U-005, D-002): pure functions to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from uws_service.applications import Application
from uws_service.applications.model import ParameterSpec
from uws_service.domain.job import FINAL, Phase
from uws_service.domain.search import Row
from uws_service.web.calls import example_curl
from uws_service.web.form_page import range_text
from uws_service.web.pages import Account, render

LAST_JOBS = 5
"""Of a reader's jobs, on the first page."""
GROUPS: Mapping[str, frozenset[Phase]] = {
    "waiting": frozenset({Phase.PENDING, Phase.QUEUED, Phase.HELD}),
    "running": frozenset({Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN}),
    "done": frozenset({Phase.COMPLETED, Phase.ARCHIVED}),
    "failed": frozenset({Phase.ERROR}),
    "aborted": frozenset({Phase.ABORTED}),
}
"""Phases as people think of them."""


@dataclass(frozen=True, slots=True)
class OwnJobs:
    """What a reader of the first page has.

    ``counts`` are numbers of jobs by phase.
    """

    rows: Sequence[Row] = ()
    counts: Mapping[Phase, int] = field(default_factory=dict)

    def groups(self) -> dict[str, tuple[int, list[str]]]:
        """Return numbers of jobs and phases by group, without those of which there is none."""
        sums = {
            name: (sum(self.counts.get(phase, 0) for phase in phases), sorted(phase.value for phase in phases))
            for name, phases in GROUPS.items()
        }
        return {name: entry for name, entry in sums.items() if entry[0]}


def root_page(
    applications: Sequence[Application],
    base: str,
    account: Account | None = None,
    jobs: OwnJobs | None = None,
    words: str = "",
) -> str:
    """Return the first page: all applications, and the reader's last jobs.

    ``base`` is the service's URL without a slash at the end; ``words`` are looked for among the applications.
    """
    return render(
        "root.html",
        base,
        account,
        "/",
        applications=[application for application in applications if matches(application, words)],
        total=len(applications),
        words=words,
        jobs=jobs,
        groups=jobs.groups() if jobs is not None else {},
        is_active=jobs is not None and any(row.phase not in FINAL for row in jobs.rows),
    )


def matches(application: Application, words: str) -> bool:
    """Return whether all words occur in an application's name, title or description."""
    text = f"{application.name} {application.title} {application.description}".casefold()
    return all(word in text for word in words.casefold().split())


def datatype_text(spec: ParameterSpec) -> str:
    """Return a short type: ``double``, ``char[*]``, ``double[3] circle``."""
    if spec.file:
        return "file"
    if spec.dataset:
        return "data set"
    size = f"[{spec.arraysize}]" if spec.arraysize else ""
    return f"{spec.datatype}{size}{' ' + spec.xtype if spec.xtype else ''}"


def application_page(
    application: Application,
    base: str,
    account: Account | None = None,
    queue: Mapping[Phase, int] | None = None,
) -> str:
    """Return the page of an application.

    It shows what it does, its parameters, results, limits and examples; ``queue`` is how many of its jobs there are by
    phase, of all callers.
    """
    parameters = [(spec, datatype_text(spec), range_text(spec)) for spec in application.parameters]
    url = f"{base}/{application.name}"
    examples = [
        (example, example_curl(example, f"{url}/async", ("PHASE", "RUN")), example_curl(example, f"{url}/sync"))
        for example in application.examples
    ]
    counts = queue or {}
    return render(
        "application.html",
        base,
        account,
        f"/{application.name}",
        application=application,
        url=url,
        parameters=parameters,
        examples=examples,
        waiting=counts.get(Phase.QUEUED, 0),
        running=counts.get(Phase.EXECUTING, 0),
    )
