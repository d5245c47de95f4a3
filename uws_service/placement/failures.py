"""Whose fault a failed attempt is, and what follows for its site.

The user's own failures are never tried again, those of a site at another one. A site with a burst of failures of its
own is put aside for a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from uws_service.domain.attempt import Reason
from uws_service.placement.wording import at_instant


class Fault(StrEnum):
    """Whose fault a failure is."""

    USER = "user"  # the parameters, the command or its limits: it would fail again
    SITE = "site"  # as it is now, the site can't run such a job
    NODE = "node"  # the machine, or what looked after the command there
    DATA = "data"  # an input, or what the command reads, could not be had
    NOBODY = "nobody"  # somebody asked for the end


FAULTS: Mapping[Reason, Fault] = {
    Reason.USAGE: Fault.USER,
    Reason.NO_SITE: Fault.USER,
    Reason.EXIT_CODE: Fault.USER,
    Reason.OUT_OF_MEMORY: Fault.USER,
    Reason.OUTPUT_TOO_LARGE: Fault.USER,
    Reason.TOO_MANY_PROCESSES: Fault.USER,
    Reason.DEADLINE: Fault.USER,
    Reason.COMMAND: Fault.USER,
    Reason.APPLICATION: Fault.USER,
    Reason.STAGE_OUT: Fault.USER,  # a result that the command should have written is missing
    Reason.STAGE_IN: Fault.DATA,
    Reason.UNAVAILABLE: Fault.DATA,
    Reason.DATA: Fault.DATA,
    Reason.IMAGE: Fault.SITE,
    Reason.REFUSED: Fault.SITE,
    Reason.UNSCHEDULABLE: Fault.SITE,
    Reason.SITE_LOST: Fault.SITE,
    Reason.DELETED: Fault.NODE,
    Reason.AGENT_LOST: Fault.NODE,
    Reason.EVICTED: Fault.NODE,
    Reason.NODE_LOST: Fault.NODE,
    Reason.ABORTED: Fault.NOBODY,
}
"""Every reason has its class."""


class Outcome(NamedTuple):
    """How an attempt ended.

    ``reason`` is None if it ended well.
    """

    site: str
    application: str
    at_ms: int
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class BurstRule:
    """When a site is put aside, and for how long."""

    window_ms: int = 600_000
    """Outcomes up to this age count."""
    least: int = 5
    """With fewer failures a site is never put aside."""
    part: float = 0.8
    """The part of its outcomes that must be failures of one reason."""
    pause_ms: int = 600_000
    """The first pause; each further one is twice as long."""
    longest_pause_ms: int = 4 * 3_600_000


DEFAULT_BURST = BurstRule()


class Aside(NamedTuple):
    """Until when a site gets no new jobs, and why: a sentence."""

    until_ms: int
    sentence: str


def put_aside(
    site: str, outcomes: Sequence[Outcome], now_ms: int, *, pauses: int = 0, rule: BurstRule = DEFAULT_BURST
) -> Aside | None:
    """Return whether a site is put aside for a burst of failures of its own.

    A failure is the site's own if its class is the site's or the node's, and the application does not fail with the
    same reason elsewhere: a wrong image fails everywhere, and puts no site aside.

    Parameters
    ----------
    outcomes
        The latest outcomes at all sites, in any order.
    pauses
        How often it was put aside without a success since.
    """
    recent = [outcome for outcome in outcomes if 0 <= now_ms - outcome.at_ms < rule.window_ms]
    elsewhere = {(outcome.application, outcome.reason) for outcome in recent if outcome.site != site}
    here = [outcome for outcome in recent if outcome.site == site]
    own = Counter(
        outcome.reason
        for outcome in here
        if outcome.reason is not None
        and FAULTS[outcome.reason] in (Fault.SITE, Fault.NODE)
        and (outcome.application, outcome.reason) not in elsewhere
    )
    # Failures that are not the site's own say nothing of it, neither for nor against.
    ends = sum(own.values()) + sum(1 for outcome in here if outcome.reason is None)
    for reason, failures in own.most_common(1):
        if failures >= rule.least and failures >= rule.part * ends:
            until_ms = now_ms + min(rule.pause_ms * 2 ** min(pauses, 16), rule.longest_pause_ms)
            sentence = f"site {site} fails {failures} of {ends} jobs with {reason}"
            return Aside(until_ms, f"{sentence}; it gets no new jobs until {at_instant(until_ms)}")
    return None
