"""Rounds of a site's loop, and the words of a waiting job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uws_service.placement.patience import Prospects, decide
from uws_service.placement.rounds import NO_SITE, Situation, take, waiting_words
from uws_service.placement.shares import FairShares, Lot

HOUR_MS = 3_600_000
NOW_MS = 100 * HOUR_MS
OUTLOOK = Prospects.of({"near": 0.0, "far": 600.0})

classes = st.dictionaries(
    st.sampled_from("xyz"),
    st.dictionaries(st.sampled_from(["near", "far", "moon"]), st.floats(0, 1e5)).map(Prospects.of),
    min_size=3,
)
lots_of = st.lists(
    st.builds(
        Lot,
        st.sampled_from("xyz"),
        st.sampled_from("ab"),
        st.sampled_from("mn"),
        st.integers(0, NOW_MS),
        count=st.integers(1, 5),
    ),
    max_size=10,
)
waits_of = st.dictionaries(st.sampled_from(["near", "far", "moon"]), st.floats(0, 1e5))


@given(classes, lots_of, waits_of, st.integers(0, 20), st.integers(0, 20))
def test_a_round_takes_what_patience_says(
    prospects: dict[str, Prospects], lots: list[Lot], waits: dict[str, float], room: int, turn: int
) -> None:
    """Nothing that may not run there, nothing that waits for a better site unless it is aged, and no less than room."""
    situation = Situation(prospects, waits, shares=FairShares(aged=HOUR_MS // 1000))
    picks = take("far", lots, situation, now_ms=NOW_MS, room=room, turn=turn)
    accepted = []
    for lot in lots:
        decision = decide("far", prospects[lot.class_key], NOW_MS - lot.oldest_ms, waits, situation.patience)
        if decision.take:
            accepted.append(lot)
    for pick in picks:
        assert "far" in prospects[pick.lot.class_key].costs
        assert pick.lot in accepted or NOW_MS - pick.lot.oldest_ms >= HOUR_MS
    assert sum(pick.count for pick in picks) >= min(room, sum(lot.count for lot in accepted))


def test_a_site_leaves_young_attempts_to_a_better_one() -> None:
    situation = Situation({"x": OUTLOOK})
    young, old = Lot("x", "g", "o", NOW_MS - 60_000), Lot("x", "g", "p", NOW_MS - 700_000)
    assert [pick.lot for pick in take("far", [young, old], situation, now_ms=NOW_MS, room=9, turn=1)] == [old]
    assert len(take("near", [young, old], situation, now_ms=NOW_MS, room=9, turn=1)) == 2
    assert take("moon", [young, old], situation, now_ms=NOW_MS, room=9, turn=1) == ()


def test_a_waiting_job_says_for_what() -> None:
    """The best site, and which one takes it next."""
    waits = {"near": 300.0}
    assert waiting_words(OUTLOOK, 60_000, waits) == (
        "waits for a free slot at near, in about 5 min; far takes it in 9 min if it has room"
    )
    assert waiting_words(OUTLOOK, 700_000, {}) == "waits for a free slot at near; far takes it now if it has room"
    alike = Prospects.of({"a": 0.0, "b": 0.0})
    assert waiting_words(alike, 0, {}).endswith("or 1 other site as good as that")
    assert waiting_words(Prospects.of({"near": 0.0}), 0, {}) == "waits for a free slot at near"
    assert waiting_words(Prospects.of({}), 0, {}) == NO_SITE


@given(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e5)).map(Prospects.of), st.integers(0, 10**9), waits_of)
def test_there_are_always_words(outlook: Prospects, waited_ms: int, waits: dict[str, float]) -> None:
    words = waiting_words(outlook, waited_ms, waits)
    assert words == NO_SITE or outlook.best in words
