"""What follows from failures."""

from __future__ import annotations

import pytest

from uws_service.domain.attempt import RETRYABLE, Reason
from uws_service.placement.failures import (
    FAULTS,
    BurstRule,
    Fault,
    Outcome,
    put_aside,
)

NOW_MS = 1_795_000_000_000


def burst(reason: Reason | None, count: int, *, site: str = "x", application: str = "app") -> list[Outcome]:
    return [Outcome(site, application, NOW_MS - 1000 * number, reason) for number in range(count)]


def test_every_reason_has_its_class() -> None:
    assert set(FAULTS) == set(Reason)
    assert all(FAULTS[reason] in (Fault.NODE, Fault.SITE) for reason in RETRYABLE)


def test_a_burst_puts_a_site_aside() -> None:
    """With a sentence, for longer each time."""
    outcomes = burst(Reason.IMAGE, 9) + burst(None, 1)
    aside = put_aside("x", outcomes, NOW_MS)
    assert aside is not None
    assert aside.sentence == "site x fails 9 of 10 jobs with Image; it gets no new jobs until 2026-11-18 11:16 UTC"
    pauses = [put_aside("x", outcomes, NOW_MS, pauses=pauses) for pauses in (0, 1, 40)]
    assert [(pause.until_ms - NOW_MS) // 60_000 for pause in pauses if pause is not None] == [10, 20, 240]


@pytest.mark.parametrize(
    "outcomes",
    [
        burst(Reason.IMAGE, 4),
        burst(Reason.IMAGE, 9) + burst(None, 9),
        burst(Reason.EXIT_CODE, 50),
        burst(Reason.STAGE_IN, 50),
        [Outcome("x", "app", NOW_MS - 700_000, Reason.IMAGE)] * 50,
        burst(Reason.IMAGE, 50) + burst(Reason.IMAGE, 1, site="y"),
    ],
    ids=["few", "many successes", "the user's", "the data's", "long ago", "fails elsewhere too"],
)
def test_a_site_is_not_put_aside_for_other_reasons(outcomes: list[Outcome]) -> None:
    assert put_aside("x", outcomes, NOW_MS) is None


def test_faults_of_others_do_not_hide_a_burst() -> None:
    """Users' failures are no successes of the site."""
    outcomes = burst(Reason.NODE_LOST, 8) + burst(Reason.EXIT_CODE, 50)
    assert put_aside("x", outcomes, NOW_MS) is not None
    assert put_aside("y", outcomes, NOW_MS) is None
    assert put_aside("x", outcomes, NOW_MS, rule=BurstRule(least=9)) is None
