"""Makes usage records of attempts that have ended, and estimates of jobs before they run. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from uws_service.domain.attempt import Attempt
from uws_service.domain.energy import Footprint, Load
from uws_service.domain.price import Budget, Charged, Hold, PriceList, list_for, shown_money
from uws_service.domain.usage_record import (
    MIB,
    UsageRecord,
    Waste,
    month_of,
    processors_of,
    rounded_seconds,
    waste_of,
)

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class SiteMeter:
    """What records need to know of a site."""

    kind: str = ""
    benchmark: str = ""
    benchmark_value: float = 0.0
    footprint: Footprint | None = None
    """None: its energy is not known, and no figure is shown (N-005)."""


class Estimate(NamedTuple):
    """What a job costs at most.

    Millionths of the currency, watt-hours, grams of CO2e; None: not stored.
    """

    price: int | None
    currency: str
    watt_hours: float | None
    co2e_g: float | None

    def texts(self) -> dict[str, str]:
        """Return what is known, by name."""
        texts = {} if self.price is None else {"price": shown_money(self.price), "currency": self.currency}
        figures = {"wh": self.watt_hours, "gco2e": self.co2e_g}
        return texts | {name: f"{value:.6g}" for name, value in figures.items() if value is not None}


class Needs(Protocol):
    """What a job reserves.

    A launch, or the resources of its application.
    """

    @property
    def cpu(self) -> float: ...
    @property
    def memory(self) -> int: ...
    @property
    def gpus(self) -> int: ...


class Extent(NamedTuple):
    """What is stored of an attempt before its end: what its agent measured, what it was started with."""

    cpu: float
    peak_memory: int
    gpus: int
    bytes_moved: int


_UNKNOWN_SITE = SiteMeter()


@dataclass(frozen=True, slots=True)
class Meter:
    """The rules by which attempts are accounted for.

    Parameters
    ----------
    projects
        The projects of groups.
    charge_lost
        Whether attempts that the infrastructure lost are paid for; they are recorded anyway (ACC-071).
    unlimited_s
        The seconds for which the price of a job without a limit of time is held.
    """

    sites: Mapping[str, SiteMeter] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    prices: Sequence[PriceList] = ()
    currency: str = ""
    budgets: Sequence[Budget] = ()
    charge_lost: bool = False
    unlimited_s: int = DAY_SECONDS

    def methods(self) -> dict[str, str]:
        """Return how energy is estimated, as JSON by the ids that records have (N-004)."""
        footprints = [site.footprint for site in self.sites.values() if site.footprint is not None]
        return {footprint.method_id: json.dumps(footprint.method(), sort_keys=True) for footprint in footprints}

    def record(self, attempt: Attempt, now: int, extent: Extent | None = None) -> UsageRecord:
        """Return the record of an attempt that has ended.

        It is made in one go, as it is part of the transaction that ends the attempt. ``extent`` is what the store knows
        better than the attempt.
        """
        stored = extent or Extent(attempt.usage.cpu, attempt.usage.peak_memory, attempt.gpus, attempt.bytes_moved)
        site, usage = self.sites.get(attempt.site, _UNKNOWN_SITE), attempt.usage
        ended = attempt.ended if attempt.ended is not None else now
        wall, waste = max(0.0, usage.wall), waste_of(attempt.reason)
        wall_ms, cpu_ms = round(wall * 1000), round(max(0.0, stored.cpu) * 1000)
        cores, memory, gpus = attempt.cpu_requested, attempt.memory_requested, stored.gpus
        start = attempt.started if attempt.started is not None else ended
        load = Load(cores, memory, gpus, wall_ms / 1000, cpu_ms / 1000)
        charged = Charged(cores, memory, gpus, wall_ms / 1000, usage.bytes_in, usage.bytes_out)
        price = self._price(attempt.site, attempt.group, charged, waste)
        return UsageRecord(
            month_of(ended), attempt.job_id, attempt.number, 0, now,
            attempt.site, site.kind, attempt.application, self.projects.get(attempt.group, ""), attempt.group,
            attempt.owner, attempt.created, attempt.submitted, attempt.started, ended,
            "" if attempt.reason is None else str(attempt.reason), waste.value, attempt.exit_code,
            cores, processors_of(cores), memory, gpus, wall_ms, cpu_ms, wall_ms * gpus, round(wall_ms * cores),
            round(memory / MIB * wall), rounded_seconds(wall_ms), rounded_seconds(cpu_ms),
            stored.peak_memory, usage.bytes_in, usage.bytes_out, stored.bytes_moved,
            *_figures(site.footprint, load, start, ended),
            site.benchmark, site.benchmark_value, price, "" if price is None else self.currency,
        )  # fmt: skip

    def _price(self, site: str, group: str, charged: Charged, waste: Waste) -> int | None:
        prices = list_for(self.prices, site, group) if self.prices else None
        if prices is None:
            return None
        return 0 if waste is Waste.INFRASTRUCTURE and not self.charge_lost else prices.price(charged)

    def corrected(self, record: UsageRecord, *, cpu: float, peak_memory: int) -> UsageRecord:
        """Return a record with usage that became known late; price and energy follow."""
        cpu_ms = round(max(0.0, cpu) * 1000)
        changed = record._replace(cpu_ms=cpu_ms, cpu_s=rounded_seconds(cpu_ms), peak_memory=peak_memory)
        site = self.sites.get(record.site, _UNKNOWN_SITE)
        if site.footprint is None or site.footprint.method_id != record.method:
            return changed
        load = Load(record.cores, record.memory, record.gpus, record.wall_ms / 1000, cpu_ms / 1000)
        start = record.started if record.started is not None else record.ended
        energy, co2e, embodied, _ = _figures(site.footprint, load, start, record.ended)
        return changed._replace(energy_mwh=energy, co2e_ug=co2e, embodied_ug=embodied)

    def estimate(self, sites: Iterable[str], needs: Needs, duration: int, group: str, now: int) -> Estimate:
        """Return what a job costs at most, at the dearest of the sites that it may go to.

        It reserves what it needs until its limit of time, in seconds (0: none); bytes can't be known before.
        """
        wall = float(duration or self.unlimited_s)
        load = Load(needs.cpu, needs.memory, needs.gpus, wall, needs.cpu * wall)
        prices, energies, masses = [], [], []
        for name in sites:
            price_list = list_for(self.prices, name, group)
            if price_list is not None:
                prices.append(price_list.price(Charged(needs.cpu, needs.memory, needs.gpus, wall)))
            footprint = self.sites.get(name, _UNKNOWN_SITE).footprint
            if footprint is not None:
                energies.append(footprint.power.watt_hours(load))
                co2e = footprint.co2e_g(energies[-1], now, now + int(wall * 1000))
                masses.extend([co2e] if co2e is not None else [])
        return Estimate(
            max(prices, default=None), self.currency, max(energies, default=None), max(masses, default=None)
        )

    def holds(self, owner: str, group: str, estimate: Estimate, now: int) -> tuple[Hold, ...]:
        """Return what is held for a job in each budget that it is paid from."""
        if estimate.price is None:
            return ()
        return tuple(
            Hold(budget.at(now), estimate.price, budget.amount, self.currency)
            for budget in self.budgets
            if budget.applies(owner, group)
        )


def _figures(
    footprint: Footprint | None, load: Load, start: int, end: int
) -> tuple[int | None, int | None, int | None, str]:
    """Return energy, CO2e, embodied CO2e and the method's id; see `UsageRecord`."""
    if footprint is None:
        return None, None, None, ""
    watt_hours = footprint.power.watt_hours(load)
    co2e, embodied = footprint.co2e_g(watt_hours, start, end), footprint.power.embodied_g(load)
    return (
        round(watt_hours * 1000),
        None if co2e is None else round(co2e * 1e6),
        None if embodied is None else round(embodied * 1e6),
        footprint.method_id,
    )
