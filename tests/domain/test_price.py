"""Prices, budgets and money as people read it."""

from __future__ import annotations

import pytest

from uws_service.domain.price import MICRO, Budget, Charged, PriceList, list_for, shown_money

INSTANT = 1_795_428_000_000  # 2026-11-23T10:00:00Z


def test_price() -> None:
    """Each thing that is paid for has its part."""
    prices = PriceList(0.02, 0.001, 1.5, 0.1, 0.05)
    charged = Charged(4, 8 * 10**9, 1, 1800, 2 * 10**9, 3 * 10**9)
    assert prices.price(charged) == round(MICRO * (0.5 * (0.08 + 0.008 + 1.5) + 0.1 + 0.3))


def test_the_first_list_counts() -> None:
    dear, cheap, general = PriceList(9, sites=("a",)), PriceList(1, groups=("/g",)), PriceList(2)
    lists = (dear, cheap, general)
    assert list_for(lists, "a", "/g") is dear
    assert list_for(lists, "b", "/g") is cheap
    assert list_for(lists, "b", "") is general
    assert list_for((dear,), "b", "") is None


@pytest.mark.parametrize(
    ("period", "name"), [("month", "2026-11"), ("quarter", "2026-Q4"), ("year", "2026"), ("total", "total")]
)
def test_periods(period: str, name: str) -> None:
    """A budget has a name for each period."""
    assert Budget(1, period, group="/g").at(INSTANT) == f"group /g {name}"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.00"), (MICRO, "1.00"), (1_230_000, "1.23"), (1, "0.000001"), (-2_500_000, "-2.50")]
)
def test_money(amount: int, text: str) -> None:
    assert shown_money(amount) == text
    assert shown_money(amount, "EUR") == f"{text} EUR"
