"""Values as people read them."""

from __future__ import annotations

import pytest

from uws_service.web.shown import duration_text, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    """Binary units, one digit."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3.25, "3.2 s"),
        (59.97, "1 min"),
        (60, "1 min"),
        (303, "5 min 3 s"),
        (3600, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """The two largest units."""
    assert duration_text(seconds) == text
