"""What is simulated: sites, links, data sets, groups, and the jobs that arrive."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from uws_service.placement.patience import Patience
from uws_service.placement.ranks import PlacementWeights
from uws_service.placement.shares import FairShares, GroupShare
from uws_service.units import Bytes, FractionalSeconds

PolicyName = Literal["least-loaded", "random", "data-only", "ours", "oracle"]
ALL_POLICIES: tuple[PolicyName, ...] = ("least-loaded", "random", "data-only", "ours", "oracle")


def _positive(value: int) -> int:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


PositiveBytes = Annotated[Bytes, AfterValidator(_positive)]


class Model(BaseModel):
    """A part of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(Model):
    """A site, with a storage area of the same name that its jobs mount."""

    name: str = Field(min_length=1)
    slots: int = Field(gt=0)
    inbound: PositiveBytes = 1_250_000_000
    """Bytes per second that can come in over all links."""


class Link(Model):
    """A link between a storage area and a site, in bytes per second for one transfer."""

    source: str
    target: str
    bandwidth: PositiveBytes


class Spread(Model):
    """A lognormal distribution by its median.

    Sigma 0 is a constant.
    """

    median: float = Field(gt=0)
    sigma: float = Field(0.0, ge=0, le=3)
    maximum: float | None = Field(None, gt=0)


class DataSets(Model):
    """Data sets of one kind.

    ``replicas`` are made at random sites, larger sites having more of them, or at the areas that are named.
    ``popularity`` is the exponent by which the nth data set is read less often than the first (0: all alike).
    """

    name: str = Field(min_length=1)
    count: int = Field(1, gt=0)
    bytes: Spread
    replicas: int = Field(1, ge=1, le=20)
    areas: tuple[str, ...] = ()
    popularity: float = Field(0.0, ge=0, le=3)


class Kind(Model):
    """Jobs of one kind.

    How long they run, and what they read.
    """

    name: str = Field(min_length=1)
    part: float = Field(1.0, gt=0)
    """How many of the jobs are of this kind, relative to the others."""
    seconds: Spread
    data: tuple[str, ...] = ()
    """For each data set that a job reads, its kind."""


class Group(Model):
    """A group: its share, its part of the jobs, and how many owners it has."""

    name: str
    share: float = Field(1.0, gt=0)
    part: float = Field(1.0, gt=0)
    owners: int = Field(1, gt=0)


class Bursts(Model):
    """Times in which more jobs arrive."""

    every: FractionalSeconds = Field(gt=0)
    length: FractionalSeconds = Field(gt=0)
    factor: float = Field(gt=1)


class Arrivals(Model):
    """How many jobs arrive, and how fast.

    So that the sites are busy for ``load`` of the time on average.
    """

    jobs: int = Field(gt=0)
    load: float = Field(0.8, gt=0, le=3)
    bursts: Bursts | None = None


class Scenario(Model):
    """A file for ``uws-service simulate``."""

    title: str = ""
    seed: int = 1
    sites: tuple[Site, ...] = Field(min_length=1)
    areas: tuple[str, ...] = ()
    """Storage areas that no site mounts, such as a tape archive."""
    bandwidth: PositiveBytes = 200_000_000
    """Bytes per second of one transfer where no link is named."""
    links: tuple[Link, ...] = ()
    data: tuple[DataSets, ...] = ()
    groups: tuple[Group, ...] = (Group(name="all"),)
    kinds: tuple[Kind, ...] = ()
    arrivals: Arrivals | None = None
    trace: str | None = None
    """A CSV or JSON-lines file of jobs, in place of kinds and arrivals."""
    weights: PlacementWeights = Field(default_factory=PlacementWeights)
    patience: Patience = Field(default_factory=Patience)
    half_life: FractionalSeconds = Field(86_400.0, gt=0)
    aged: FractionalSeconds = Field(6 * 3600.0, ge=0)
    policies: tuple[PolicyName, ...] = Field(ALL_POLICIES, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Scenario:
        areas = {site.name for site in self.sites} | set(self.areas)
        _check_unique("sites", [site.name for site in self.sites])
        _check_unique("data", [item.name for item in self.data])
        _check_unique("groups", [group.name for group in self.groups])
        sets = {item.name for item in self.data}
        for item in self.data:
            _check_names(f"data {item.name}: areas", item.areas, areas)
        for link in self.links:
            _check_names("links: source", (link.source,), areas)
            _check_names("links: target", (link.target,), {site.name for site in self.sites})
        for kind in self.kinds:
            _check_names(f"kinds {kind.name}: data", kind.data, sets)
        if self.trace is None and (self.arrivals is None or not self.kinds):
            raise ValueError("there are no jobs: give `kinds` and `arrivals`, or a `trace`")
        if self.trace is not None and self.arrivals is not None:
            raise ValueError("jobs come from `arrivals` or from a `trace`, not from both")
        return self

    @property
    def slots(self) -> int:
        """Return the slots of all sites."""
        return sum(site.slots for site in self.sites)

    @property
    def shares(self) -> FairShares:
        """Return the shares as the order of attempts takes them."""
        groups = {group.name: GroupShare(share=group.share) for group in self.groups}
        return FairShares(groups=groups, half_life=max(1, round(self.half_life)), aged=round(self.aged))


def _check_unique(field: str, names: list[str]) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{field}: {repeated[0]!r} is there twice")


def _check_names(field: str, names: tuple[str, ...], allowed: set[str]) -> None:
    if unknown := [name for name in names if name not in allowed]:
        raise ValueError(f"{field}: there is no {unknown[0]!r}; there are: {', '.join(sorted(allowed))}")
