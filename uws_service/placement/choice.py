"""Which site a job goes to, and why: a pure decision, told in jobInfo as a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uws_service.domain.errors import UsageError


@dataclass(frozen=True, slots=True)
class SiteView:
    """What the choice knows of a site; what is empty or None allows all."""

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
    """What a job needs of a site: its application, whose it is, what it asks for (cores, bytes)."""

    application: str
    owner: str = ""
    group: str = ""
    site: str | None = None
    """The one that its owner asked for, by the parameter SITE."""
    cpu: float = 0.0
    memory: int = 0
    gpus: int = 0


class Choice(NamedTuple):
    """A site, and why it was taken."""

    site: str
    reason: str


def choose(sites: Sequence[SiteView], wish: Wish, *, without: str | None = None) -> Choice:
    """The site that takes the job, answers, and has the fewest jobs for each of its slots.

    Parameters
    ----------
    without
        A site that is out of the question, because the job comes from there.

    Raises
    ------
    UsageError
        No site takes such a job; the message says why not, site by site.
    """
    names = [site.name for site in sites]
    if wish.site is not None and wish.site not in names:
        raise UsageError(f"SITE={wish.site[:64]!r} is not known; sites: {', '.join(names)}.")
    asked = [site for site in sites if wish.site in (None, site.name) and site.name != without]
    against = {site.name: _objection(site, wish) for site in asked}
    taking = [site for site in asked if not against[site.name]]
    if not taking:
        why = "; ".join(f"{name}: {objection}" for name, objection in against.items()) or "there is no other site"
        raise UsageError(f"No site takes this job. {why}.")
    answering = [site for site in taking if site.reachable]
    best = min(answering or taking, key=lambda site: ((site.waiting + site.running) / site.slots, site.name))
    return Choice(best.name, _reason(best, wish, sites, taking, answering))


def _objection(site: SiteView, wish: Wish) -> str:
    """Why a site does not take a job; empty if it does."""
    if site.applications and wish.application not in site.applications:
        return f"the application {wish.application} is not available there"
    allowed = (site.owners and wish.owner in site.owners) or (site.groups and wish.group in site.groups)
    if (site.owners or site.groups) and not allowed:
        return "its owner may not use it"
    for what, wanted, most in (
        ("CPUs", wish.cpu, site.cpu),
        ("bytes of memory", wish.memory, site.memory),
        ("GPUs", wish.gpus, site.gpus),
    ):
        if most is not None and wanted > most:
            return f"it has at most {most:g} {what} for one job, {wanted:g} are needed"
    return ""


def _reason(
    best: SiteView, wish: Wish, sites: Sequence[SiteView], taking: list[SiteView], answering: list[SiteView]
) -> str:
    if len(sites) == 1:
        return "the only site"
    if wish.site is not None:
        return "asked for by SITE"
    if not answering:
        return "no site answers at the moment; this one takes such jobs"
    if len(taking) == 1:
        return "the only site that takes such jobs"
    if len(answering) == 1:
        return "the only site that takes such jobs and answers at the moment"
    load = f"{best.waiting} waiting and {best.running} running for {best.slots} slots"
    return f"{load}, the fewest of {len(answering)} sites"
