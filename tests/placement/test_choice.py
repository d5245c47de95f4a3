"""The choice of a site, case by case."""

from __future__ import annotations

import pytest

from uws_service.domain.errors import UsageError
from uws_service.placement.choice import SiteView, Wish, choose

A, B = SiteView("a", 4), SiteView("b", 4)
ANY = Wish("app")


def test_one_site_needs_no_reason() -> None:
    assert choose([A], ANY) == ("a", "the only site")


def test_the_least_loaded() -> None:
    """Load is jobs for each slot, then the name."""
    assert choose([SiteView("a", 4, waiting=1), SiteView("b", 4, running=2)], ANY).site == "a"
    assert choose([SiteView("a", 4, running=3), SiteView("b", 40, running=20)], ANY).site == "b"
    choice = choose([B, A], ANY)
    assert choice == ("a", "0 waiting and 0 running for 4 slots, the fewest of 2 sites")


def test_a_site_that_does_not_answer_is_the_last_resort() -> None:
    down = SiteView("a", 4, reachable=False)
    assert choose([down, SiteView("b", 1, running=9)], ANY).site == "b"
    assert choose([down], Wish("app")).site == "a"
    nobody = choose([down, SiteView("b", 4, waiting=1, reachable=False)], ANY)
    assert nobody == ("a", "no site answers at the moment; this one takes such jobs")


def test_asked_for_by_name() -> None:
    assert choose([A, B], Wish("app", site="b")) == ("b", "asked for by SITE")
    with pytest.raises(UsageError, match=r"SITE='moon' is not known; sites: a, b\."):
        choose([A, B], Wish("app", site="moon"))


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (SiteView("a", 4, applications=("other",)), "the application app is not available there"),
        (SiteView("a", 4, owners=("eve",)), "its owner may not use it"),
        (SiteView("a", 4, groups=("g2",)), "its owner may not use it"),
        (SiteView("a", 4, cpu=1), "it has at most 1 CPUs for one job, 2 are needed"),
        (SiteView("a", 4, memory=10), "it has at most 10 bytes of memory for one job, 100 are needed"),
        (SiteView("a", 4, gpus=0), "it has at most 0 GPUs for one job, 1 are needed"),
    ],
)
def test_what_a_site_does_not_take(site: SiteView, reason: str) -> None:
    """The message says why each site refuses."""
    wish = Wish("app", owner="ada", group="g1", cpu=2, memory=100, gpus=1)
    with pytest.raises(UsageError) as error:
        choose([site], wish)
    assert error.value.message == f"No site takes this job. a: {reason}."
    assert choose([site, B], wish) == ("b", "the only site that takes such jobs")


def test_owner_or_group_is_enough() -> None:
    site = SiteView("a", 4, owners=("ada",), groups=("g1",))
    assert choose([site], Wish("app", owner="ada")).site == "a"
    assert choose([site], Wish("app", owner="ben", group="g1")).site == "a"


def test_not_where_it_comes_from() -> None:
    assert choose([A, B], ANY, without="a").site == "b"
    with pytest.raises(UsageError, match="there is no other site"):
        choose([A], ANY, without="a")
