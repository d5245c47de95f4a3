"""What speaks against a job at a site.

`OBJECTIONS` is the table: to add a rule, write a small function and a line. A function returns the reason in words,
or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from uws_service.placement.locality import unreadable
from uws_service.placement.model import SiteView, Wish
from uws_service.placement.wording import at_instant, in_memory, in_time

UNLIMITED_MS = 86_400_000
"""A job without a time limit does not start so shortly before a downtime."""

Check = Callable[[SiteView, Wish, int], str]
"""``(site, job, now in ms) -> reason``."""


class Rule(NamedTuple):
    """A rule, and whether what it says holds for good.

    A job that no site takes for good is refused; otherwise it waits.
    """

    name: str
    check: Check
    lasting: bool


class Objection(NamedTuple):
    """A reason in words."""

    words: str
    lasting: bool


def _refusal(site: SiteView, wish: Wish, now_ms: int) -> str:
    return wish.refusals.get(site.name, "")


def _application(site: SiteView, wish: Wish, now_ms: int) -> str:
    if site.applications and wish.application not in site.applications:
        return f"the application {wish.application} is not available there"
    return ""


def _permission(site: SiteView, wish: Wish, now_ms: int) -> str:
    allowed = (site.owners and wish.owner in site.owners) or (site.groups and wish.group in site.groups)
    return "its owner may not use it" if (site.owners or site.groups) and not allowed else ""


def _cpu(site: SiteView, wish: Wish, now_ms: int) -> str:
    return _too_much("CPUs", wish.cpu, site.cpu)


def _memory(site: SiteView, wish: Wish, now_ms: int) -> str:
    if site.memory is not None and wish.memory > site.memory:
        return f"it has at most {in_memory(site.memory)} of memory for one job, {in_memory(wish.memory)} are needed"
    return ""


def _gpus(site: SiteView, wish: Wish, now_ms: int) -> str:
    return _too_much("GPUs", wish.gpus, site.gpus)


def _data(site: SiteView, wish: Wish, now_ms: int) -> str:
    missing = unreadable(site, wish.data)
    if not missing:
        return ""
    first = missing[0]
    further = f" and {len(missing) - 1} more data sets" if len(missing) > 1 else ""
    if not first.replicas:
        return f"there is no replica of {first.identifier}{further}"
    return f"it can't read {first.identifier}{further}, which is at {', '.join(first.replicas[:3])}"


def _silent(site: SiteView, wish: Wish, now_ms: int) -> str:
    return "" if site.reachable else "it does not answer at the moment"


def _drained(site: SiteView, wish: Wish, now_ms: int) -> str:
    return site.drained and f"it takes no new jobs: {site.drained}"


def _put_aside(site: SiteView, wish: Wish, now_ms: int) -> str:
    return site.put_aside


def _downtime(site: SiteView, wish: Wish, now_ms: int) -> str:
    """Drain a site in time.

    No job starts that may run into a window.
    """
    for window in site.downtimes:
        if window.end_ms <= now_ms:
            continue
        why = f" ({window.reason})" if window.reason else ""
        if window.start_ms <= now_ms:
            return f"it is down until {at_instant(window.end_ms)}{why}"
        longest = wish.duration_ms
        if now_ms + (longest or UNLIMITED_MS) > window.start_ms:
            takes = f"may take {in_time(longest / 1000)}" if longest else "has no time limit"
            return f"it goes down at {at_instant(window.start_ms)}{why}, and the job {takes}"
    return ""


def _too_much(unit: str, demand: float, maximum: float | None) -> str:
    if maximum is not None and demand > maximum:
        return f"it has at most {maximum:g} {unit} for one job, {demand:g} are needed"
    return ""


OBJECTIONS: tuple[Rule, ...] = (
    Rule("refusal", _refusal, True),
    Rule("application", _application, True),
    Rule("permission", _permission, True),
    Rule("cpu", _cpu, True),
    Rule("memory", _memory, True),
    Rule("gpus", _gpus, True),
    Rule("data", _data, True),
    Rule("reachable", _silent, False),
    Rule("drained", _drained, False),
    Rule("aside", _put_aside, False),
    Rule("downtime", _downtime, False),
)


def passing_objection(site: SiteView, wish: Wish, now_ms: int) -> str:
    """Return what speaks for the moment against starting a job at the site that it waits for; empty if nothing does.

    That the site does not answer is none of it: it can't start anything then.
    """
    passing = (rule for rule in OBJECTIONS if not rule.lasting and rule.name != "reachable")
    return next((words for rule in passing if (words := rule.check(site, wish, now_ms))), "")


def is_possible(site: SiteView, wish: Wish, now_ms: int) -> bool:
    """Return whether jobs may wait for the site: nothing speaks against it but a short silence."""
    return not any(
        rule.check(site, wish, now_ms) for rule in OBJECTIONS if not (site.awaited and rule.name == "reachable")
    )


def objections(site: SiteView, wish: Wish, now_ms: int) -> tuple[Objection, ...]:
    """Return all that speaks against a job at a site."""
    return tuple(Objection(words, rule.lasting) for rule in OBJECTIONS if (words := rule.check(site, wish, now_ms)))
