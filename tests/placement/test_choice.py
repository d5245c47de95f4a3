"""The choice of a site, case by case."""

from __future__ import annotations

import pytest

from uws_service.domain.errors import NoSite, UsageError
from uws_service.placement.choice import choose, shortened
from uws_service.placement.model import DataNeed, SiteView, Way, Wish

A, B = SiteView("a", 4), SiteView("b", 4)
ANY = Wish("app")


def chosen(sites: list[SiteView], wish: Wish = ANY) -> tuple[str, str]:
    """Return the chosen site and the sentence."""
    choice = choose(sites, wish)
    return choice.site, choice.sentence


def test_one_site_needs_no_reason() -> None:
    assert chosen([A]) == ("a", "the only site")


def test_the_least_loaded() -> None:
    """Load is jobs for each slot, then the name."""
    assert choose([SiteView("a", 4, waiting=1), SiteView("b", 4, running=2)], ANY).site == "a"
    assert choose([SiteView("a", 4, running=3), SiteView("b", 40, running=20)], ANY).site == "b"
    assert chosen([B, A]) == ("a", "0 waiting and 0 running for 4 slots, the fewest of 2 sites")


def test_a_site_that_does_not_answer_is_the_last_resort() -> None:
    down = SiteView("a", 4, reachable=False)
    assert choose([down, SiteView("b", 1, running=9)], ANY).site == "b"
    assert choose([down], Wish("app")).site == "a"
    nobody = chosen([down, SiteView("b", 4, waiting=1, reachable=False)])
    assert nobody == ("a", "no site answers at the moment; this one takes such jobs")


def test_asked_for_by_name() -> None:
    assert chosen([A, B], Wish("app", site="b")) == ("b", "asked for by SITE")
    with pytest.raises(UsageError, match=r"SITE='moon' is not known; sites: a, b\."):
        choose([A, B], Wish("app", site="moon"))


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (SiteView("a", 4, applications=("other",)), "the application app is not available there"),
        (SiteView("a", 4, owners=("eve",)), "its owner may not use it"),
        (SiteView("a", 4, groups=("g2",)), "its owner may not use it"),
        (SiteView("a", 4, cpu=1), "it has at most 1 CPUs for one job, 2 are needed"),
        (SiteView("a", 4, memory=10), "it has at most 10 B of memory for one job, 100 B are needed"),
        (SiteView("a", 4, gpus=0), "it has at most 0 GPUs for one job, 1 are needed"),
    ],
)
def test_what_a_site_does_not_take(site: SiteView, reason: str) -> None:
    """The message says why each site refuses."""
    wish = Wish("app", owner="ada", group="g1", cpu=2, memory=100, gpus=1)
    with pytest.raises(UsageError) as error:
        choose([site], wish)
    assert error.value.message == f"No site takes this job. a: {reason}."
    assert chosen([site, B], wish) == ("b", "the only site that takes such jobs")


def test_owner_or_group_is_enough() -> None:
    site = SiteView("a", 4, owners=("ada",), groups=("g1",))
    assert choose([site], Wish("app", owner="ada")).site == "a"
    assert choose([site], Wish("app", owner="ben", group="g1")).site == "a"


def test_not_where_it_comes_from() -> None:
    assert choose([A, B], ANY, without="a").site == "b"
    with pytest.raises(UsageError, match="there is no other site"):
        choose([A], ANY, without="a")


def test_the_table_has_every_site_in_its_order() -> None:
    """The chosen site comes first, and what speaks against a site stands beside it."""
    sites = [SiteView("a", 4, waiting=8), SiteView("b", 4, cpu=1), B_BUSY, SiteView("d", 4, reachable=False)]
    table = choose(sites, Wish("app", cpu=2)).table
    assert [row.site for row in table] == ["c", "a", "b", "d"]
    assert table[0].costs[0].words == "1 waiting and 0 running for 4 slots"
    assert [row.seconds for row in table[:2]] == [150.0, 1200.0]
    assert table[2].objections == ("it has at most 1 CPUs for one job, 2 are needed",)
    assert table[3].objections == ("it does not answer at the moment",)


B_BUSY = SiteView("c", 4, waiting=1)


def test_a_table_of_one_row_is_not_stored() -> None:
    assert shortened(choose([A], ANY).table) == ()
    assert len(shortened(choose([SiteView(f"s{number}", 1) for number in range(20)], ANY).table)) == 10


def test_what_passes_does_not_refuse_a_job() -> None:
    """A drained network takes jobs, which wait."""
    drained = SiteView("a", 4, drained="new disks")
    assert chosen([drained, B]) == ("b", "the only site that takes such jobs at the moment")
    assert chosen([drained, SiteView("b", 4, put_aside="site b fails 9 of 10 jobs with Image")])[1] == (
        "no site takes such jobs at the moment; of this one: it takes no new jobs: new disks"
    )


def test_lasting_reasons_alone_are_told_when_a_job_is_refused() -> None:
    site = SiteView("a", 4, cpu=1, drained="new disks")
    with pytest.raises(UsageError, match=r"No site takes this job\. a: it has at most 1 CPUs"):
        choose([site], Wish("app", cpu=2))


def test_named_sites_override_what_passes() -> None:
    busy = SiteView("a", 1, waiting=99, drained="new disks")
    assert choose([busy, B], Wish("app", site="a")).site == "a"


def test_data_at_a_site_that_may_not_run_the_application() -> None:
    """They can be mounted there alone: each site has its own reason."""
    need = DataNeed("survey:cube", 10**12, ("DISK",), only_mounted=("DISK",))
    beside = SiteView("beside", 4, applications=("other",), storage={"DISK": Way.MOUNT})
    distant = SiteView("distant", 4, any_way=Way.STAGE)
    with pytest.raises(NoSite) as raised:
        choose([beside, distant], Wish("app", data=(need,)))
    assert raised.value.message == (
        "No site takes this job. beside: the application app is not available there; distant: it can't read "
        "survey:cube, which is at DISK."
    )
