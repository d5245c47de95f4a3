"""The choice of a job's site, with a reason for jobInfo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from uws_service.domain.errors import NoSite, UsageError


@dataclass(frozen=True, slots=True)
class SiteView:
    """A candidate site; empty fields allow all."""

    name: str
    slots: int
    waiting: int = 0
    running: int = 0
    reachable: bool = True
    applications: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    cpu: float | None = None
    memory: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """The needs of a job, in cores and bytes."""

    application: str
    owner: str = ""
    group: str = ""
    site: str | None = None
    """The site that the parameter SITE names."""
    cpu: float = 0.0
    memory: int = 0
    gpus: int = 0
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Why sites can't take this very job, by name."""


class Choice(NamedTuple):
    """A site, and why it was chosen."""

    site: str
    reason: str


def choose(sites: Sequence[SiteView], wish: Wish, *, without: str | None = None) -> Choice:
    """Return the site with the fewest jobs for each slot.

    It takes such a job, and answers if any of those does.

    Parameters
    ----------
    without
        A site that is out of the question, because the job comes from there.

    Raises
    ------
    NoSite
        No site takes such a job; the message says why not, site by site.
    UsageError
        There is no site of that name.
    """
    names = [site.name for site in sites]
    if wish.site is not None and wish.site not in names:
        raise UsageError(f"SITE={wish.site[:64]!r} is not known; sites: {', '.join(names)}.")
    candidates = [site for site in sites if wish.site in (None, site.name) and site.name != without]
    objections = {site.name: _objection(site, wish) for site in candidates}
    willing = [site for site in candidates if not objections[site.name]]
    if not willing:
        reasons = (
            "; ".join(f"{name}: {objection}" for name, objection in objections.items()) or "there is no other site"
        )
        raise NoSite(f"No site takes this job. {reasons or 'there is no other site'}.")
    answering = [site for site in willing if site.reachable]
    best = min(answering or willing, key=lambda site: ((site.waiting + site.running) / site.slots, site.name))
    return Choice(best.name, _reason(best, wish, sites, willing, answering))


def _objection(site: SiteView, wish: Wish) -> str:
    """Return why a site does not take a job; empty if it does."""
    if refusal := wish.refusals.get(site.name):
        return refusal
    if site.applications and wish.application not in site.applications:
        return f"the application {wish.application} is not available there"
    allowed = (site.owners and wish.owner in site.owners) or (site.groups and wish.group in site.groups)
    if (site.owners or site.groups) and not allowed:
        return "its owner may not use it"
    for unit, demand, maximum in (
        ("CPUs", wish.cpu, site.cpu),
        ("bytes of memory", wish.memory, site.memory),
        ("GPUs", wish.gpus, site.gpus),
    ):
        if maximum is not None and demand > maximum:
            return f"it has at most {maximum:g} {unit} for one job, {demand:g} are needed"
    return ""


def _reason(
    best: SiteView, wish: Wish, sites: Sequence[SiteView], willing: list[SiteView], answering: list[SiteView]
) -> str:
    if len(sites) == 1:
        return "the only site"
    if wish.site is not None:
        return "asked for by SITE"
    if not answering:
        return "no site answers at the moment; this one takes such jobs"
    if len(willing) == 1:
        return "the only site that takes such jobs"
    if len(answering) == 1:
        return "the only site that takes such jobs and answers at the moment"
    load = f"{best.waiting} waiting and {best.running} running for {best.slots} slots"
    return f"{load}, the fewest of {len(answering)} sites"
