"""Subscriptions to events of jobs, and when a notice is tried again (E-020…E-024). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from uws_service.domain.errors import UsageError
from uws_service.domain.events import EVENT_NAMES
from uws_service.domain.job import Phase

PAUSES_MS = tuple(int(seconds * 1000) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000, 36_000))
"""Before each further try; the last ones again and again."""
GIVE_UP_MS = 3 * 86_400_000
"""A receiver that fails for so long is not tried any more."""
RETRY_AFTER_MAX_MS = 86_400_000
NAMES = tuple(dict.fromkeys(EVENT_NAMES.values()))
USUAL_EVENTS = ("phase", "deleted")
USUAL_PHASES = (Phase.COMPLETED.value, Phase.ERROR.value, Phase.ABORTED.value)


class Kind(StrEnum):
    """How notices are sent."""

    WEBHOOK = "webhook"
    MAIL = "mail"
    FEED = "feed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber wants to be told."""

    events: tuple[str, ...] = ("phase",)
    phases: tuple[str, ...] = USUAL_PHASES
    """Of events of the name ``phase``; none: all."""
    applications: tuple[str, ...] = ()
    """None: all."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription; instants in milliseconds."""

    id: str
    kind: Kind
    owner: str
    target: str
    """A URL, or an address for mail."""
    wish: Wish
    base: str
    """Public URL of the service's root, as the subscriber called it."""
    created: int
    job_id: str = ""
    """Empty: all jobs of the owner."""
    locked: str = ""
    """The encrypted secret of a webhook, or the hash of a feed's."""
    previous: str = ""
    """The secret before, as long as both are in use."""
    previous_until: int = 0
    delay: int = 0
    """Milliseconds between an event and the notice of it."""
    failing_since: int | None = None
    disabled: int | None = None
    message: str = ""
    """How the last try failed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice that waits.

    ``number`` is that of the event, below 0 for a test.
    """

    subscription_id: str
    number: int
    payload: str
    """The event as JSON."""
    due: int
    tries: int
    created: int


def parse_wish(
    events: list[str], phases: list[str], applications: list[str], applications_here: frozenset[str]
) -> Wish:
    """Return what a subscriber asks for.

    What is not said is the end of jobs.

    Raises
    ------
    UsageError
        There is no such event, phase or application.
    """
    wish = Wish()
    event_names = tuple(dict.fromkeys(name.lower() for name in events)) or wish.events
    wrong = [name for name in event_names if name not in NAMES]
    if wrong:
        raise UsageError(f"EVENTS: there is no event {wrong[0][:40]!r}; there are: {', '.join(NAMES)}.")
    of_phases = tuple(dict.fromkeys(phase.upper() for phase in phases)) or wish.phases
    if of_phases == ("ALL",):
        of_phases = ()
    wrong = [phase for phase in of_phases if phase not in Phase.__members__]
    if wrong:
        raise UsageError(f"PHASES: there is no phase {wrong[0][:40]!r}; there are: ALL, {', '.join(Phase)}.")
    wrong = [name for name in applications if name not in applications_here]
    if wrong:
        raise UsageError(f"APPLICATIONS: there is no application {wrong[0][:64]!r} here.")
    return Wish(event_names, of_phases, tuple(dict.fromkeys(applications)))


def next_try(tries: int, now: int, chance: float, retry_after: int | None = None) -> int:
    """Return when to try again after so many tries; ``chance`` of 0..1 spreads those that failed together.

    What a receiver asks for by Retry-After, in milliseconds, is obeyed up to a day.
    """
    pause = PAUSES_MS[min(tries, len(PAUSES_MS)) - 1]
    if retry_after is not None:
        pause = max(pause, min(retry_after, RETRY_AFTER_MAX_MS))
    return now + int(pause * (1 + 0.2 * chance))


def is_given_up(failing_since: int | None, now: int) -> bool:
    """Return whether a receiver has failed for too long."""
    return failing_since is not None and now - failing_since >= GIVE_UP_MS
