"""The pages of job lists (U-005, U-050…U-053): pure functions from values to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from uws_service.applications import Application
from uws_service.domain.job import FINAL, Phase
from uws_service.domain.search import Row
from uws_service.protocol.uws import JobRefLike, JobUrls
from uws_service.service.selection import Outcome
from uws_service.web.home_page import GROUPS
from uws_service.web.pages import Account, render, root_of
from uws_service.web.shown import size_text

MAX_JOBS = 10_000
"""Jobs that the page of an application's jobs lists."""
SORTS = (("-created", "newest first"), ("created", "oldest first"), ("-ended", "ended last"), ("ended", "ended first"))
FILTER_WORDS = {
    "APPLICATION": "application",
    "PHASE": "phase",
    "RUNID": "name is",
    "NAME": "name has",
    "TEXT": "parameters have",
    "SITE": "site",
    "AFTER": "created after",
    "BEFORE": "created before",
}


class Group(NamedTuple):
    """A link to the jobs of a group of phases.

    ``jobs`` None: it is not known.
    """

    name: str
    url: str
    jobs: int | None
    chosen: bool


def jobs_page(
    application: Application,
    refs: Sequence[JobRefLike],
    urls: JobUrls,
    phases: frozenset[Phase] | None,
    last: int | None,
    account: Account | None = None,
) -> str:
    """Return the page of the caller's jobs (U-052).

    They come newest first, with links for each phase; ``last`` is the greatest number that was looked for.
    """
    cut = last is not None and len(refs) >= last and last < MAX_JOBS
    chosen_phases = sorted(phases or (), key=list(Phase).index)
    longer_url = (
        f"{urls.jobs}?{urlencode([*(('PHASE', phase.value) for phase in chosen_phases), ('LAST', 10 * last)])}"
        if last
        else ""
    )
    return render(
        "jobs.html",
        root_of(urls),
        account,
        f"/{application.name}/async",
        application=application,
        refs=refs,
        urls=urls,
        phases=frozenset(chosen_phases),
        every_phase=tuple(Phase),
        more=longer_url if cut else "",
    )


def all_jobs_page(
    rows: Sequence[Row],
    base: str,
    chosen: Mapping[str, Sequence[str]],
    applications: Sequence[str],
    following: str | None,
    account: Account | None = None,
    counts: Mapping[Phase, int] | None = None,
) -> str:
    """Return the page of an owner's jobs over all applications.

    ``chosen`` are the filters as they came, ``counts`` numbers of the owner's newest jobs by phase.
    """
    filters = [(name, value) for name, values in chosen.items() for value in values if value and name != "SORT"]
    order = [("SORT", value) for value in chosen.get("SORT", ()) if value]
    others = [pair for pair in (*filters, *order) if pair[0] != "PHASE"]
    here = f"{base}/jobs"
    return render(
        "all_jobs.html",
        base,
        account,
        "/jobs",
        rows=rows,
        chosen=chosen,
        applications=applications,
        sorts=SORTS,
        groups=_groups(here, others, frozenset(chosen.get("PHASE", ())), counts),
        all_url=_with_query(here, others),
        here_url=_with_query(here, [*filters, *order]),
        filters=filters,
        narrowed=", ".join(f"{FILTER_WORDS.get(name, name.lower())} {value}" for name, value in filters),
        is_active=any(row.phase not in FINAL for row in rows),
        following=following,
    )


def _groups(
    here: str, others: Sequence[tuple[str, str]], chosen: frozenset[str], counts: Mapping[Phase, int] | None
) -> list[Group]:
    """Return links to groups of phases; counts are of all filters but these."""
    entries = []
    for name, phases in GROUPS.items():
        ordered = [phase.value for phase in Phase if phase in phases]
        count = sum(counts.get(phase, 0) for phase in phases) if counts is not None else None
        url = _with_query(here, [*others, *(("PHASE", phase) for phase in ordered)])
        entries.append(Group(name, url, count, bool(chosen) and chosen == frozenset(ordered)))
    return entries


def _with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(pairs)}" if pairs else url


def confirm_page(
    action: str, outcome: Outcome, base: str, values: Mapping[str, Sequence[str]], account: Account | None = None
) -> str:
    """Return the page that asks before many jobs are changed."""
    fields = [(name, value) for name, entries in values.items() if name != "DRYRUN" for value in entries]
    return render(
        "confirm.html", base, account, action=action, outcome=outcome, fields=fields, size=size_text(outcome.size)
    )
