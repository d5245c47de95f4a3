"""The choice of a job's site, with its reasons.

A site is out if something speaks against it (`uws_service.placement.objections`); the others have costs in seconds
(`uws_service.placement.ranks`), and the lowest sum wins. What comes out is a sentence for jobInfo, and the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uws_service.domain.errors import NoSite, UsageError
from uws_service.domain.placement import Candidate
from uws_service.placement.model import SiteView, Wish
from uws_service.placement.objections import Objection, objections
from uws_service.placement.ranks import DEFAULT_WEIGHTS, PlacementWeights, costs, total
from uws_service.placement.wording import in_time

NOWHERE_ELSE = "there is no other site"
MAX_ROWS = 10
"""Rows of the table that are stored with a job."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A site, why it was chosen, and what was considered.

    The table has the chosen site first, then the others by their costs, then those that do not take the job.
    """

    site: str
    sentence: str
    table: tuple[Candidate, ...] = ()
    willing: tuple[str, ...] = ()
    """The sites that may ever run the job."""


@dataclass(frozen=True, slots=True)
class _Field:
    """The candidates of one choice, by how willing they are."""

    sites: Sequence[SiteView]
    wish: Wish
    against: dict[str, tuple[Objection, ...]]
    willing: list[SiteView]
    """Nothing lasting speaks against them."""
    ready: list[SiteView]
    """Nothing at all speaks against them."""


def choose(
    sites: Sequence[SiteView],
    wish: Wish,
    *,
    without: str | None = None,
    now_ms: int = 0,
    weights: PlacementWeights = DEFAULT_WEIGHTS,
) -> Choice:
    """Return the site with the lowest costs.

    It takes such a job, and does so now if any of those does. SITE overrides costs, and what holds for the moment only.

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
    against = {site.name: objections(site, wish, now_ms) for site in candidates}
    willing = [site for site in candidates if not any(objection.lasting for objection in against[site.name])]
    if not willing:
        reasons = "; ".join(f"{name}: {reason[0].words}" for name, reason in against.items())
        raise NoSite(f"No site takes this job. {reasons or NOWHERE_ELSE}.")
    ready = [site for site in willing if not against[site.name]]
    sums = {site.name: total(site, wish, now_ms, weights) for site in ready or willing}
    best = min(ready or willing, key=lambda site: (sums[site.name], site.name))
    rows = _rows(best, candidates, against, sums, wish, now_ms, weights)
    sentence = _sentence(_Field(sites, wish, against, willing, ready), best, rows)
    return Choice(best.name, sentence, rows, tuple(site.name for site in willing))


def table_of(
    sites: Sequence[SiteView], wish: Wish, site: str, *, now_ms: int, weights: PlacementWeights = DEFAULT_WEIGHTS
) -> tuple[Candidate, ...]:
    """Return the table of all sites for a job that one of them has taken, that one first."""
    against = {view.name: objections(view, wish, now_ms) for view in sites}
    sums = {view.name: total(view, wish, now_ms, weights) for view in sites if not against[view.name]}
    (taken,) = (view for view in sites if view.name == site)
    return _rows(taken, sites, against, sums, wish, now_ms, weights)


def shortened(table: Sequence[Candidate], most: int = MAX_ROWS) -> tuple[Candidate, ...]:
    """Return the first rows of a table, which are the best ones; one row explains nothing."""
    return tuple(table[:most]) if len(table) > 1 else ()


def _rows(
    best: SiteView,
    candidates: Sequence[SiteView],
    against: dict[str, tuple[Objection, ...]],
    sums: dict[str, float],
    wish: Wish,
    now_ms: int,
    weights: PlacementWeights,
) -> tuple[Candidate, ...]:
    """Return the table in its order."""

    def place(site: SiteView) -> tuple[bool, bool, float, str]:
        return site is not best, bool(against[site.name]), sums.get(site.name, 0.0), site.name

    return tuple(
        Candidate(
            site.name,
            tuple(objection.words for objection in against[site.name]),
            costs(site, wish, now_ms, weights) if site.name in sums else (),
        )
        for site in sorted(candidates, key=place)
    )


def _sentence(field: _Field, best: SiteView, rows: tuple[Candidate, ...]) -> str:
    """Return why it is this site."""
    if len(field.sites) == 1:
        return "the only site"
    if field.wish.site is not None:
        return "asked for by SITE"
    if not field.ready:
        return _nobody_ready(field, best)
    if len(field.willing) == 1:
        return "the only site that takes such jobs"
    if len(field.ready) == 1:
        if all(site.reachable for site in field.willing):
            return "the only site that takes such jobs at the moment"
        return "the only site that takes such jobs and answers at the moment"
    return _comparison(rows, len(field.ready))


def _nobody_ready(field: _Field, best: SiteView) -> str:
    if not any(site.reachable for site in field.willing):
        return "no site answers at the moment; this one takes such jobs"
    return f"no site takes such jobs at the moment; of this one: {field.against[best.name][0].words}"


def _comparison(rows: tuple[Candidate, ...], ready: int) -> str:
    """Return what the best site has over the next one."""
    best, following = rows[0], rows[1]
    ranks = {cost.rank for row in rows[:ready] for cost in row.costs}
    words = "; ".join(cost.words for cost in best.costs if cost.words)
    if ranks == {"load"}:
        return f"{words}, the fewest of {ready} sites"
    dearer = following.seconds - best.seconds
    if dearer < 1:
        return f"{words}; as good as {following.site}, out of {ready} sites"
    gains = {cost.rank: cost.seconds for cost in following.costs}
    for cost in best.costs:
        gains[cost.rank] = gains.get(cost.rank, 0.0) - cost.seconds
    main = max(gains, key=lambda rank: gains[rank])
    why = next((cost.words for cost in following.costs if cost.rank == main and cost.words), "")
    return f"{words}; the best of {ready} sites, {in_time(dearer)} before {following.site}" + (
        f" ({why})" if why else ""
    )
