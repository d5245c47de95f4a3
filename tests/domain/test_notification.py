"""When a notice is tried again, and what a subscriber may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.errors import UsageError
from uws_service.domain.job import Phase
from uws_service.domain.notification import GIVE_UP_MS, Wish, is_given_up, next_try, parse_wish

APPLICATIONS = frozenset({"sleep", "tap"})


def test_pauses() -> None:
    """E-024: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, and again."""
    pauses = [next_try(tries, 0, 0.0) // 1000 for tries in range(1, 12)]
    assert pauses[:6] == [5, 300, 1800, 7200, 18_000, 36_000] and set(pauses[6:]) == {36_000}
    assert next_try(1, 1000, 1.0) == 7000
    assert next_try(1, 0, 0.0, 60_000) == 60_000
    assert next_try(2, 0, 0.0, 1000) == 300_000
    assert next_try(1, 0, 0.0, 10**12) == 86_400_000


@given(st.integers(1, 100), st.floats(0, 1))
def test_a_pause_is_never_shorter_or_much_longer(tries: int, chance: float) -> None:
    assert next_try(tries, 0, 0.0) <= next_try(tries, 0, chance) <= 1.2 * next_try(tries, 0, 0.0)


def test_when_a_receiver_is_given_up() -> None:
    assert not is_given_up(None, 10**15)
    assert not is_given_up(5, GIVE_UP_MS + 4) and is_given_up(5, GIVE_UP_MS + 5)


def test_wishes() -> None:
    assert parse_wish([], [], [], APPLICATIONS) == Wish()
    assert Wish().phases == ("COMPLETED", "ERROR", "ABORTED")
    wish = parse_wish(["Phase", "deleted", "phase"], ["all"], ["tap"], APPLICATIONS)
    assert wish == Wish(("phase", "deleted"), (), ("tap",))
    assert parse_wish([], ["executing"], [], APPLICATIONS).phases == (Phase.EXECUTING,)
    for events, phases, applications, words in (
        (["nothing"], [], [], "phase, parameters"),
        ([], ["DONE"], [], "COMPLETED"),
        ([], [], ["none"], "no application 'none'"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_wish(events, phases, applications, APPLICATIONS)
