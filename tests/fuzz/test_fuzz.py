"""A few hundred of the inputs that `make soak-fuzz` feeds by the hundred thousand; and that a fault would be seen."""

from __future__ import annotations

import pytest

from tests.fuzz.run import MAX_SECONDS, Outcome, _fault, feed
from tests.fuzz.targets import TARGETS
from uws_service.domain.errors import UsageError, UwsError


@pytest.mark.parametrize("name", [target.name for target in TARGETS])
def test_strangers_inputs(name: str) -> None:
    """Each input gets an answer or a refusal, within the bounds of time and memory."""
    outcome = feed(name, 300, seed=7)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.inputs > 300 and outcome.answers and outcome.refusals


def test_faults_are_seen() -> None:
    """An error of the service itself, and work that takes too long, count as faults; a refusal does not."""

    def slow(_: bytes) -> None:
        import time

        end = time.process_time() + MAX_SECONDS + 0.1
        while time.process_time() < end:
            pass

    def failing(error: Exception) -> object:
        def read(_: bytes) -> None:
            raise error

        return read

    assert "it took" in _fault(slow, b"", Outcome())
    assert "KeyError" in _fault(failing(KeyError("x")), b"", Outcome())
    assert "UwsError" in _fault(failing(UwsError("x")), b"", Outcome())
    assert not _fault(failing(UsageError("x")), b"", Outcome())
