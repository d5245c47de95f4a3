"""What a job wants of a site.

The parameters SITE, PREFER and PRIORITY.
"""

from __future__ import annotations

import pytest

from tests.store import samples
from uws_service.applications import Application
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Job, Parameter
from uws_service.placement.choice import choose
from uws_service.placement.model import SiteView
from uws_service.placement.wishes import preferred_sites, priority_of_job, require_known_sites, wish_of

SITES = ("a", "b", "c")
VIEWS = tuple(SiteView(name, 1) for name in SITES)
APPLICATION = Application("app", "title", "text", ("true",))


def job_with(*parameters: tuple[str, str]) -> Job:
    return samples.job(parameters=tuple(Parameter(name, value) for name, value in parameters))


@pytest.mark.parametrize(
    ("values", "sites"),
    [((), ()), (("b",), ("b",)), (("c, b",), ("c", "b")), (("c", "b,c"), ("c", "b")), ((" , ",), ())],
)
def test_preferred_sites_have_an_order(values: tuple[str, ...], sites: tuple[str, ...]) -> None:
    assert preferred_sites(job_with(*(("prefer", value) for value in values))) == sites


def test_preferred_site_is_chosen_unless_the_others_are_much_better() -> None:
    wish = wish_of(job_with(("PREFER", "c,a")), APPLICATION, sites=SITES)
    choice = choose(VIEWS, wish)
    assert choice.site == "c"
    assert choice.sentence.startswith("0 waiting and 0 running for 1 slots; number 1 of the preferred sites")
    words = {row.site: row.costs[-1].words for row in choice.table}
    assert (words["a"], words["b"]) == ("number 2 of the preferred sites", "not among the preferred sites")
    busy = (*VIEWS[:2], SiteView("c", 1, waiting=3))
    assert choose(busy, wish).site == "a"


def test_sites_that_there_are_not() -> None:
    """They are refused when the job is run; one that is gone since counts no more."""
    job = job_with(("PREFER", "a,moon"))
    with pytest.raises(UsageError, match="PREFER='moon' is not known; sites: a, b, c"):
        require_known_sites(job, SITES)
    require_known_sites(job_with(("PREFER", "a")), SITES)
    assert wish_of(job, APPLICATION, sites=SITES).preferred == ("a",)


def test_last_value_of_site_and_priority_counts() -> None:
    job = job_with(("SITE", "a"), ("site", "b"), ("SITE", " "), ("PRIORITY", "1"), ("priority", "-3"))
    assert (wish_of(job, APPLICATION).site, priority_of_job(job)) == ("b", -3)
