"""The words of a waiting job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uws_service.placement.patience import Prospects
from uws_service.placement.rounds import NO_SITE, waiting_words

OUTLOOK = Prospects.of({"near": 0.0, "far": 600.0})

waits_of = st.dictionaries(st.sampled_from(["near", "far", "moon"]), st.floats(0, 1e5))


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
