"""Prices and budgets as pure data; money is in whole millionths of the currency's unit.

Whole numbers add up the same in any order, so an account is right to the cent whatever was summed first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

MICRO = 10**6
GB = 10**9
Period = Literal["month", "quarter", "year", "total"]


class Charged(NamedTuple):
    """What is paid for.

    Cores, bytes and devices for some seconds, bytes that came and bytes that are stored.
    """

    cores: float
    memory: int
    gpus: int
    wall: float
    bytes_moved: int = 0
    bytes_stored: int = 0


@dataclass(frozen=True, slots=True)
class PriceList:
    """What things cost, in units of the currency.

    Empty ``sites`` or ``groups`` mean all.
    """

    core_hour: float = 0.0
    gb_hour: float = 0.0
    gpu_hour: float = 0.0
    gb_stored: float = 0.0
    gb_moved: float = 0.0
    sites: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def applies(self, site: str, group: str) -> bool:
        """Return whether this is the list for a group at a site."""
        return (not self.sites or site in self.sites) and (not self.groups or group in self.groups)

    def price(self, charged: Charged) -> int:
        """Return the price, rounded once."""
        by_hour = self.core_hour * charged.cores + self.gpu_hour * charged.gpus + self.gb_hour * charged.memory / GB
        by_byte = self.gb_moved * charged.bytes_moved + self.gb_stored * charged.bytes_stored
        return round(MICRO * (by_hour * charged.wall / 3600 + by_byte / GB))


def list_for(lists: Sequence[PriceList], site: str, group: str) -> PriceList | None:
    """Return the first price list for a group at a site."""
    return next((entry for entry in lists if entry.applies(site, group)), None)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the jobs of a group, or of an owner, may cost in a period."""

    amount: int
    period: Period = "month"
    group: str = ""
    owner: str = ""

    def applies(self, owner: str, group: str) -> bool:
        """Return whether a job of an owner in a group is paid from it."""
        return self.owner == owner if self.owner else self.group == group

    @property
    def holder(self) -> str:
        """Return whose budget it is."""
        return f"owner {self.owner}" if self.owner else f"group {self.group}"

    def at(self, instant: int) -> str:
        """Return the name of the budget of the period that an instant (milliseconds) is in, in UTC."""
        moment = datetime.fromtimestamp(instant / 1000, UTC)
        names = {
            "month": f"{moment:%Y-%m}",
            "quarter": f"{moment.year}-Q{(moment.month + 2) // 3}",
            "year": f"{moment.year}",
            "total": "total",
        }
        return f"{self.holder} {names[self.period]}"


class Hold(NamedTuple):
    """An amount that is held for a job in a budget until its end."""

    budget: str
    amount: int
    limit: int
    currency: str = ""


def shown_money(amount: int, currency: str = "") -> str:
    """Return an amount for people, with at least two decimals and not more than it has."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, MICRO)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}{f' {currency}' if currency else ''}"
