"""What the choice of a site knows of sites and jobs.

Values only. Instants are milliseconds since the epoch and end in ``_ms``, sizes are bytes, costs are seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

MIN_SAMPLES = 20
"""Waits that a site must have seen before anything is expected of them."""


class Way(StrEnum):
    """How jobs at a site read a storage area."""

    MOUNT = "mount"  # in place, nothing is copied
    STAGE = "stage"  # the agent fetches a copy
    BRING = "bring"  # the data lake makes a copy at the site before the job starts


class Waits(NamedTuple):
    """The waits of the latest jobs of one size class at a site."""

    samples: int
    p50_ms: int
    p90_ms: int


class Window(NamedTuple):
    """A time in which a site is down."""

    start_ms: int
    end_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SiteView:
    """A candidate site; empty limits allow all.

    Parameters
    ----------
    reachable
        Whether it answers at the moment.
    awaited
        Whether it has been silent for so short a time that jobs wait for it as for one that is full.
    drained, put_aside
        Why it gets no new jobs now, in words; empty if it does.
    storage
        How jobs there read each storage area that they can read.
    any_way
        How they read areas that are not in ``storage``; None: not at all.
    brings
        Whether the data lake makes copies at the site of what none of the areas in ``storage`` has.
    bandwidth
        Bytes per second from each storage area to the site; ``any_bandwidth`` for areas that are not in it.
    waits
        Waits by size class.
    job_seconds
        What a job there usually takes.
    carbon, price
        gCO2e, and units of money, for an hour of a core.
    preference
        Seconds that the operator adds to the costs of the site for each application; ``""`` is for all the others.
    contradictions
        Where settings and published facts say different things, for operators.
    """

    name: str
    slots: int
    waiting: int = 0
    running: int = 0
    reachable: bool = True
    awaited: bool = False
    applications: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    cpu: float | None = None
    memory: int | None = None
    gpus: int | None = None
    drained: str = ""
    put_aside: str = ""
    downtimes: tuple[Window, ...] = ()
    storage: Mapping[str, Way] = field(default_factory=dict)
    any_way: Way | None = None
    brings: bool = False
    bandwidth: Mapping[str, float] = field(default_factory=dict)
    any_bandwidth: float = 50e6
    waits: Mapping[str, Waits] = field(default_factory=dict)
    job_seconds: float = 600.0
    carbon: float | None = None
    price: float | None = None
    preference: Mapping[str, float] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()

    def expected_waits(self, size_class: str) -> Waits | None:
        """Return the waits of a size class, if there are enough of them."""
        waits = self.waits.get(size_class)
        return waits if waits is not None and waits.samples >= MIN_SAMPLES else None


@dataclass(frozen=True, slots=True)
class DataNeed:
    """A data set that a job reads.

    ``replicas`` are the storage areas that hold it; from those in ``only_mounted`` it can't be fetched. What is of a
    ``lake`` can be brought to other areas.
    """

    identifier: str
    bytes: int
    replicas: tuple[str, ...]
    only_mounted: tuple[str, ...] = ()
    lake: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """The needs of a job, in cores and bytes.

    ``group`` has its issuer in its name (``group@issuer``) where there are several. ``duration_ms`` is the most time
    that the job may take, 0 if there is no limit. ``preferred`` are sites in the order in which the owner prefers them.
    """

    application: str
    owner: str = ""
    group: str = ""
    site: str | None = None
    """The site that the parameter SITE names."""
    cpu: float = 0.0
    memory: int = 0
    gpus: int = 0
    data: tuple[DataNeed, ...] = ()
    size_class: str = ""
    duration_ms: int = 0
    preferred: tuple[str, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Why sites can't take this very job, by name."""


def wish_text(wish: Wish) -> str:
    """Return a wish as JSON."""
    return json.dumps(asdict(wish), ensure_ascii=False, separators=(",", ":"))


def parse_wish(text: str) -> Wish:
    """Return a wish from its JSON.

    Fields of a newer version are left out.
    """
    values = {name: value for name, value in json.loads(text).items() if name in _WISH_FIELDS}
    data = tuple(
        DataNeed(
            need["identifier"],
            need["bytes"],
            tuple(need["replicas"]),
            tuple(need.get("only_mounted", ())),
            bool(need.get("lake")),
        )
        for need in values.pop("data", ())
    )
    return Wish(**{**values, "data": data, "preferred": tuple(values.get("preferred", ()))})


_WISH_FIELDS = frozenset(item.name for item in fields(Wish))


def size_class(cpu: float, memory: int, gpus: int, duration_ms: int) -> str:
    """Return the size class of a job: jobs that wait alike.

    Cores, memory and time are in powers of four.
    """
    cores = _power_of_four(cpu)
    gibibytes = _power_of_four(memory / 2**30)
    hours = _power_of_four(duration_ms / 3_600_000) if duration_ms else "any"
    return f"c{cores}-m{gibibytes}-g{gpus}-h{hours}"


def _power_of_four(value: float) -> int:
    power = 1
    while power < value:
        power *= 4
    return power
