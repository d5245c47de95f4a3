"""Levels, outcomes and results of checks.

A check returns what it saw, or raises one of the exceptions below.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The level of a rule; only a broken MUST fails."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    TRAP = "TRAP"
    AMBIG = "AMBIG"


class Outcome(StrEnum):
    """The verdict of a check."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"
    UNSUPPORTED = "unsupported"


class Broken(Exception):
    """A broken rule; the text says what was seen."""


class Skipped(Exception):
    """A check that could not be made, with the reason."""


class Unsupported(Exception):
    """An optional feature that the server rightly refuses."""


@dataclass(frozen=True)
class Result:
    """The result of a check on a server."""

    id: str
    rule: str
    level: Level
    standard: str
    section: str
    requires: str
    hint: str
    outcome: Outcome
    observation: str
    seconds: float
    exchanges: tuple[int, ...]


def expect(condition: object, observation: str) -> None:
    """Raise `Broken` with the observation unless the condition holds."""
    if not condition:
        raise Broken(observation)
