"""When an attempt that could not be handed over is tried again."""

from __future__ import annotations

import pytest

from uws_service.sites.submission import PAUSE_MAX_MS, pause_ms


@pytest.mark.parametrize(
    ("waited_ms", "retry_after", "pause"),
    [
        (-5, None, 1000),
        (0, 3, 3000),
        (20_000, None, 1000),
        (60_000, 1, 3000),
        (10**9, None, PAUSE_MAX_MS),
        (0, 90, 90_000),
    ],
)
def test_what_has_waited_long_is_tried_less_often(waited_ms: int, retry_after: int | None, pause: int) -> None:
    assert pause_ms(waited_ms, retry_after) == pause


def test_an_outage_of_a_day_makes_a_bounded_number_of_tries() -> None:
    """Each try writes an event and takes a turn of others."""
    tries = now = 0
    while now < 86_400_000:
        now += pause_ms(now, None)
        tries += 1
    assert tries < 1600
