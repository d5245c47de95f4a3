"""What a check can end in, and how it says so: it returns what it saw, or raises one of the exceptions below."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How binding a rule is; only a broken MUST is a failure."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    TRAP = "TRAP"
    AMBIG = "AMBIG"


class Outcome(StrEnum):
    """The verdict on one check."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"
    UNSUPPORTED = "unsupported"


class Broken(Exception):
    """The rule is broken; the text says what was seen."""


class Skipped(Exception):
    """The check could not be made; the text is the reason."""


class Unsupported(Exception):
    """The server rightly refuses an optional feature."""


@dataclass(frozen=True)
class Result:
    """One check made on one server."""

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
    """Break the rule with what was seen, unless the condition holds."""
    if not condition:
        raise Broken(observation)
