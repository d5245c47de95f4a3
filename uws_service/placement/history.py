"""What is expected of jobs by those that ended lately: waits at sites, lengths, ends. Pure.

Nothing is expected of fewer than `MIN_SAMPLES` jobs of a kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from uws_service.placement.model import MIN_SAMPLES, Waits
from uws_service.placement.rounds import JOB_SECONDS

LATEST = 200
"""So many of the latest jobs of a kind count."""


class Past(NamedTuple):
    """An attempt whose command has run.

    Instants in milliseconds.
    """

    site: str
    application: str
    size_class: str
    created: int
    submitted: int
    started: int
    ended: int
    is_good: bool
    """Whether it ended well: how long others took says little."""


@dataclass(frozen=True, slots=True)
class Experience:
    """What is expected of jobs."""

    waits: Mapping[str, Mapping[str, Waits]] = field(default_factory=dict)
    """From the hand-over to a site to the start there, by site and size class."""
    lengths: Mapping[str, float] = field(default_factory=dict)
    """Seconds that jobs of an application usually take: the median."""
    site_lengths: Mapping[str, float] = field(default_factory=dict)
    """The same of all jobs at a site."""
    ends: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Milliseconds from the hand-in to the end that nine of ten jobs stay below, by application and size class."""

    def job_seconds(self, application: str) -> float:
        """Return what a job of an application is taken to need."""
        return self.lengths.get(application, JOB_SECONDS)


NO_EXPERIENCE = Experience()


def learned(history: Iterable[Past]) -> Experience:
    """Return what is expected of jobs by those that ended lately, the latest first."""
    waits: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    lengths: dict[str, list[int]] = defaultdict(list)
    site_lengths: dict[str, list[int]] = defaultdict(list)
    queued: dict[tuple[str, str], list[int]] = defaultdict(list)
    ran: dict[tuple[str, str], list[int]] = defaultdict(list)
    for past in history:
        _put(waits[past.site][past.size_class], past.started - past.submitted)
        if past.is_good:
            key = past.application, past.size_class
            length = past.ended - past.started
            _put(lengths[past.application], length)
            _put(site_lengths[past.site], length)
            _put(queued[key], past.started - past.created)
            _put(ran[key], length)
    return Experience(
        waits={
            site: {name: _waits(samples) for name, samples in classes.items() if len(samples) >= MIN_SAMPLES}
            for site, classes in waits.items()
        },
        lengths=_medians(lengths),
        site_lengths=_medians(site_lengths),
        ends={
            key: quantile(samples, 0.9) + quantile(ran[key], 0.9)
            for key, samples in queued.items()
            if len(samples) >= MIN_SAMPLES
        },
    )


def _put(samples: list[int], value: int) -> None:
    if len(samples) < LATEST:
        samples.append(max(0, value))


def _waits(samples: Sequence[int]) -> Waits:
    return Waits(len(samples), quantile(samples, 0.5), quantile(samples, 0.9))


def _medians(lengths: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return medians in seconds of what has enough samples."""
    return {
        name: max(1.0, quantile(samples, 0.5) / 1000)
        for name, samples in lengths.items()
        if len(samples) >= MIN_SAMPLES
    }


def quantile(samples: Sequence[int], part: float) -> int:
    """Return the sample that a part of the others stays below."""
    return sorted(samples)[min(len(samples) - 1, int(part * len(samples)))]
