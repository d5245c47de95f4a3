"""The settings of accounts: the section ``accounting`` of the service, and that of each site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from uws_service.accounting.intensity import countries
from uws_service.domain.energy import UNCERTAINTY_RATIO, WATTS_PER_GB
from uws_service.domain.price import Period
from uws_service.units import FractionalSeconds, Seconds

Identities = Literal["full", "hashed", "withheld"]
Form = Literal["apel-individual", "apel-summary", "car", "auditor", "csv", "parquet", "jsonl"]
Benchmark = Literal["hepscore23", "hepspec", "si2k"]
_NO_PRICE = "Units of the currency"


class Energy(BaseModel):
    """What a site's machines draw."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pue: float = Field(ge=1, le=5, description="Energy of the whole computing centre for each unit of its machines.")
    watts_per_core: float = Field(10.0, ge=0, description="Watts of a core at full load; the default is PanDA's.")
    idle_watts_per_core: float | None = Field(
        None,
        ge=0,
        description="Watts of a reserved core that does nothing; 0: energy counts by CPU time. Unset: as at full load, "
        "energy counts by what is reserved.",
    )
    watts_per_gb: float = Field(WATTS_PER_GB, ge=0, description="Watts of 10^9 bytes of reserved memory.")
    watts_per_gpu: float = Field(200.0, ge=0, description="Watts of a device, such as 250 for an A100 on PCIe.")
    embodied_g_per_core_hour: float | None = Field(
        None, ge=0, description="Grams of CO2e of making the machines, for each core and hour; shown apart."
    )
    uncertainty: float = Field(
        UNCERTAINTY_RATIO, ge=0, le=10, description="Relative uncertainty, which goes out with each figure."
    )

    @model_validator(mode="after")
    def _idle_below_load(self) -> Self:
        if self.idle_watts_per_core is not None and self.idle_watts_per_core > self.watts_per_core:
            raise ValueError("idle_watts_per_core is above watts_per_core")
        return self


class Carbon(BaseModel):
    """The grid of a site.

    Exactly one of country, intensity, file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    country: str | None = Field(
        None, description="Three letters of ISO 3166-1, such as `GBR`: the yearly mean of the shipped table (Ember)."
    )
    intensity: float | None = Field(None, ge=0, le=3000, description="Grams of CO2e for each kWh, with its `source`.")
    source: str = Field("", max_length=200, description="Where `intensity` or `file` comes from; told with figures.")
    file: Path | None = Field(
        None,
        description="A CSV file with the columns `time,gco2e_per_kwh` (UTC, ascending), such as a live source writes; "
        "it is read again when it has changed.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(value is not None for value in (self.country, self.intensity, self.file)) != 1:
            raise ValueError("needs exactly one of country, intensity and file")
        if self.intensity is not None and not self.source:
            raise ValueError("intensity needs its source: a figure without one is not shown")
        if self.country is not None and self.country not in countries():
            raise ValueError(f"country: {self.country[:20]!r} is not in the table; use intensity, with its source")
        return self


class SiteAccounting(BaseModel):
    """What accounts need to know of a site."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "", max_length=100, description="The site's name in the accounting repository (GOCDB). Empty: its name here."
    )
    infrastructure: Literal["local", "grid"] = Field(
        "local", description="`grid` is counted by the EGI portal, `local` is not."
    )
    benchmark: Mapping[Benchmark, float] = Field(
        default_factory=dict, description="The score of one core, such as `{hepscore23: 12.3}`; one benchmark."
    )
    energy: Energy | None = Field(None, description="Unset: the energy of the site's jobs is not known, and not shown.")
    carbon: Carbon | None = Field(None, description="Unset: CO2e of the site's jobs is not known, and not shown.")

    @field_validator("benchmark")
    @classmethod
    def _benchmark(cls, value: Mapping[Benchmark, float]) -> Mapping[Benchmark, float]:
        if len(value) > 1 or any(score <= 0 for score in value.values()):
            raise ValueError("needs one benchmark with a score above 0")
        return value

    @model_validator(mode="after")
    def _carbon_of_energy(self) -> Self:
        if self.carbon is not None and self.energy is None:
            raise ValueError("carbon needs energy: CO2e is estimated from it")
        return self


class Prices(BaseModel):
    """A price list.

    The first one that applies to a job counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    core_hour: float = Field(0.0, ge=0, description=f"{_NO_PRICE} for an hour of a reserved core.")
    gb_hour: float = Field(0.0, ge=0, description=f"{_NO_PRICE} for an hour of 10^9 bytes of reserved memory.")
    gpu_hour: float = Field(0.0, ge=0, description=f"{_NO_PRICE} for an hour of a device.")
    gb_stored: float = Field(0.0, ge=0, description=f"{_NO_PRICE} for 10^9 bytes of results and logs, once.")
    gb_moved: float = Field(0.0, ge=0, description=f"{_NO_PRICE} for 10^9 bytes of inputs that were fetched.")
    sites: tuple[str, ...] = Field((), description="Sites for which it applies; empty: all.")
    groups: tuple[str, ...] = Field((), description="Groups for which it applies; empty: all.")


class BudgetSettings(BaseModel):
    """What the jobs of a group, or of an owner, may cost in a period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount: float = Field(ge=0, description="Units of the currency; a job for which less is left answers 402.")
    period: Period = Field("month", description="`month`, `quarter`, `year` (UTC), or `total`: for ever.")
    group: str = Field("", description="The group that jobs are counted under; of another issuer `group@issuer`.")
    owner: str = Field("", description="Or the owner of the jobs.")

    @model_validator(mode="after")
    def _one_holder(self) -> Self:
        if bool(self.group) == bool(self.owner):
            raise ValueError("needs either a group or an owner")
        return self


class Publish(BaseModel):
    """Where accounts are published regularly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = Field(
        None, description="Folder for messages, such as the outgoing one of ssmsend. Unset: nothing is written."
    )
    forms: tuple[Form, ...] = Field(
        ("apel-summary",), description="What is written: `apel-summary`, `apel-individual`, `car`, `csv`, …"
    )
    auditor: str | None = Field(None, description="The base URL of an AUDITOR server that gets all records.")
    interval: FractionalSeconds = Field(3600.0, gt=0, description="Seconds between two looks for what is new.")
    months: int = Field(2, ge=1, le=120, description="How many months up to the present are looked at.")


class Accounting(BaseModel):
    """Accounts: identities, prices, budgets, publication, retention."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identities: Identities = Field(
        "hashed",
        description="How owners stand in what leaves the service: `full`, `hashed` (the same owner has the same "
        "pseudonym) or `withheld`.",
    )
    default_vo: str = Field("", max_length=100, description="The VO of jobs without a group. Empty: none is named.")
    projects: Mapping[str, str] = Field(default_factory=dict, description="The projects of groups, by group.")
    managers: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Who may see the usage of a group: owners, or groups (those begin with `/`), by group.",
    )
    currency: str = Field("credits", pattern=r"^[A-Za-z]{1,16}$", description="The unit of prices and budgets.")
    prices: tuple[Prices, ...] = Field((), description="Price lists; the first one that applies to a job counts.")
    budgets: tuple[BudgetSettings, ...] = Field(
        (), description="What jobs may cost; a job is paid from all budgets of its group and owner."
    )
    charge_lost: bool = Field(False, description="Charge attempts that the infrastructure has lost, too.")
    unlimited: Seconds = Field(86400, ge=1, description="Seconds for which the price of a job without a limit is held.")
    publish: Publish = Field(default_factory=Publish, description="Where accounts are published regularly.")
    retention: Seconds = Field(0, ge=0, description="Seconds for which records are kept, by whole months; 0: for ever.")
    anonymise_after: Seconds = Field(
        0, ge=0, description="Seconds after which records lose the names of owners, by whole months; 0: never."
    )
    anonymise_as: Literal["hashed", "withheld"] = Field("hashed", description="What then stands for the owner.")

    @model_validator(mode="after")
    def _prices_for_budgets(self) -> Self:
        if self.budgets and not self.prices:
            raise ValueError("budgets need prices: without any nothing is ever spent")
        return self
