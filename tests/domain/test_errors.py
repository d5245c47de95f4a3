"""Messages of errors."""

from __future__ import annotations

from uws_service.domain.errors import NotFound, UsageError


def test_messages_repeat_only_the_beginning_of_long_words() -> None:
    """What a client sent comes back in part, however long it is."""
    message = UsageError(f"There is no column {'x' * 100_000!r}; there are: ra, dec.").message
    assert message == f"There is no column '{'x' * 80}…'; there are: ra, dec."
    assert len(UsageError("x" * 100_000).message) == 2001
    short = "LANG='PQL' is not known; known: ADQL."
    assert UsageError(short).message == NotFound(short).message == short
