"""What follows from failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.attempt import RETRYABLE, Reason
from uws_service.placement.failures import (
    FAULTS,
    BurstRule,
    Fault,
    MemoryRule,
    Outcome,
    learned_memory,
    more_memory,
    put_aside,
    retry_after,
)

GIB = 2**30
RULE = MemoryRule(4 * GIB, 2, 32 * GIB)
NOW_MS = 1_795_000_000_000


def burst(reason: Reason | None, count: int, *, site: str = "x", application: str = "app") -> list[Outcome]:
    return [Outcome(site, application, NOW_MS - 1000 * number, reason) for number in range(count)]


def test_every_reason_has_its_class() -> None:
    assert set(FAULTS) == set(Reason)
    assert all(FAULTS[reason] in (Fault.NODE, Fault.SITE) for reason in RETRYABLE)


@given(st.sampled_from(Reason), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 3))
def test_retries_are_bounded_and_never_for_the_user_s_own_faults(
    reason: Reason, attempts: int, most_attempts: int, other_sites: int, replicas: int
) -> None:
    retry = retry_after(
        reason, attempts=attempts, most_attempts=most_attempts, other_sites=other_sites, replicas=replicas
    )
    assert retry.reason
    if attempts >= most_attempts or FAULTS[reason] in (Fault.USER, Fault.NOBODY):
        assert not retry.again
    if retry.avoid_site:
        assert FAULTS[reason] is Fault.SITE and other_sites
    if retry.avoid_replica:
        assert FAULTS[reason] is Fault.DATA and replicas


@pytest.mark.parametrize(
    ("reason", "again", "words"),
    [
        (Reason.EXIT_CODE, False, "it would fail again"),
        (Reason.ABORTED, False, "it was ended on purpose"),
        (Reason.NODE_LOST, True, "another machine may do"),
        (Reason.IMAGE, True, "another site may do"),
        (Reason.STAGE_IN, True, "another replica may do"),
    ],
)
def test_whose_fault_decides(reason: Reason, again: bool, words: str) -> None:
    retry = retry_after(reason, attempts=1, most_attempts=3, other_sites=1, replicas=1)
    assert (retry.again, retry.reason) == (again, words)
    alone = retry_after(reason, attempts=1, most_attempts=3, other_sites=0, replicas=0)
    assert alone.again == (reason is Reason.NODE_LOST)


def test_memory_grows_once() -> None:
    assert more_memory(RULE, 4 * GIB, tried_with_more=False) == 8 * GIB
    assert more_memory(RULE, 8 * GIB, tried_with_more=True) is None
    assert more_memory(RULE, 20 * GIB, tried_with_more=False) == 32 * GIB
    assert more_memory(RULE, 32 * GIB, tried_with_more=False) is None
    assert more_memory(MemoryRule(4 * GIB), 4 * GIB, tried_with_more=False) is None


@given(st.lists(st.integers(0, 64 * GIB), max_size=60))
def test_learned_memory_is_within_the_rule(peaks: list[int]) -> None:
    learned = learned_memory(RULE, peaks)
    assert RULE.default <= learned <= RULE.maximum
    if len(peaks) < 20:
        assert learned == RULE.default
    elif learned < RULE.maximum:
        assert sum(peak <= learned for peak in peaks) >= 0.95 * len(peaks)


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
