"""What is expected of jobs by those that ended lately."""

from __future__ import annotations

from uws_service.placement.history import Past, learned
from uws_service.placement.model import MIN_SAMPLES, SiteView, Waits
from uws_service.placement.rounds import JOB_SECONDS, expected_waits


def past(number: int, **fields: object) -> Past:
    """Return a job that waited for ``number`` seconds at its site and ran for a minute."""
    values = {
        "site": "a", "application": "app", "size_class": "c1", "created": 0, "submitted": 1000,
        "started": 1000 + 1000 * number, "ended": 61_000 + 1000 * number, "is_good": True, **fields,
    }  # fmt: skip
    return Past(**values)  # type: ignore[arg-type]


def test_nothing_is_expected_of_too_few() -> None:
    experience = learned(past(number) for number in range(MIN_SAMPLES - 1))
    assert experience.waits["a"] == {} and not experience.lengths and not experience.ends
    assert experience.job_seconds("app") == JOB_SECONDS


def test_waits_lengths_and_ends() -> None:
    experience = learned(past(number) for number in range(20))
    assert experience.waits == {"a": {"c1": Waits(20, 10_000, 18_000)}}
    assert experience.job_seconds("app") == experience.site_lengths["a"] == 60
    assert experience.ends == {("app", "c1"): 19_000 + 60_000}, "nine of ten waited and ran no longer"


def test_classes_and_sites_are_apart_and_failures_tell_of_waits_alone() -> None:
    rows = [past(number, site="b" if number % 2 else "a") for number in range(40)]
    rows += [past(5, size_class="c4", is_good=False) for _ in range(20)]
    experience = learned(rows)
    assert experience.waits["a"]["c4"] == Waits(20, 5000, 5000)
    assert set(experience.waits["b"]) == {"c1"}
    assert set(experience.ends) == {("app", "c1")}


def test_latest_jobs_count() -> None:
    rows = [past(1)] * 200 + [past(1000)] * 200
    assert learned(rows).waits["a"]["c1"].p90_ms == 1000


def test_full_sites_are_expected_to_be_busy_as_long_as_their_jobs_take() -> None:
    views = {"a": SiteView("a", 2, running=2, job_seconds=60.0), "b": SiteView("b", 2, running=2)}
    assert expected_waits(views) == {"a": 30.0, "b": JOB_SECONDS / 2}
