"""Energy and CO2e.

The published formulas that ours contains, series, what people read.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.domain.energy import Footprint, Intensity, Load, Power, shown_grams, shown_watt_hours

HOUR_MS = 3_600_000


def test_as_panda() -> None:
    """N-001, N-002: eight cores for an hour at 10 W and 300 g/kWh are 24 g."""
    footprint = Footprint(Power(1.0, memory_gb=0), Intensity("test", (300.0,)))
    watt_hours = footprint.power.watt_hours(Load(8, 0, 0, 3600, 0))
    assert watt_hours == 80
    assert footprint.co2e_g(watt_hours, 0, HOUR_MS) == pytest.approx(24, abs=1e-9)


def test_as_green_algorithms() -> None:
    """N-001: 12 h, 16 cores of 10 W, 64 GB, PUE 1.67, 475 g/kWh."""
    power = Power(1.67)
    watt_hours = power.watt_hours(Load(16, 64 * 10**9, 0, 12 * 3600, 16 * 12 * 3600))
    assert watt_hours == pytest.approx(12 * (160 + 64 * 0.3725) * 1.67)
    co2e = Footprint(power, Intensity("test", (475.0,))).co2e_g(watt_hours, 0, 1)
    assert co2e == pytest.approx(1750, rel=1e-3)


def test_by_use() -> None:
    """N-001: without idle power energy follows the CPU time; devices count for as long as they are held."""
    assert Power(1.0, idle_core=0, memory_gb=0).watt_hours(Load(8, 0, 0, 3600, 1800)) == 5
    assert Power(2.0, core=0, idle_core=0, memory_gb=0, gpu=250).watt_hours(Load(1, 0, 2, 1800, 0)) == 500


def test_series() -> None:
    """N-002: the mean over a run; before the first instant the first value holds, after the last one the last."""
    series = Intensity("test", (100.0, 300.0), (0, HOUR_MS))
    assert series.mean(0, 2 * HOUR_MS) == 200
    assert series.mean(HOUR_MS // 2, 3 * HOUR_MS) == pytest.approx((0.5 * 100 + 2 * 300) / 2.5)
    assert series.mean(5 * HOUR_MS, 9 * HOUR_MS) == series.mean(7 * HOUR_MS, 7 * HOUR_MS) == 300
    assert series.mean(-HOUR_MS, 0) == 100


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=8), st.integers(0, 7 * HOUR_MS), st.integers(1, HOUR_MS))
def test_a_run_in_two_parts(values: list[int], start: int, length: int) -> None:
    """The CO2e of two halves is that of the whole."""
    series = Intensity("test", tuple(map(float, values)), tuple(range(0, len(values) * HOUR_MS, HOUR_MS)))
    middle, end = start + length, start + 2 * length
    halves = series.mean(start, middle) + series.mean(middle, end)
    assert halves / 2 == pytest.approx(series.mean(start, end), abs=1e-9)


def test_nothing_without_a_source() -> None:
    """N-004, N-005: no intensity, no figure; the method names its inputs, and another input is another method."""
    silent = Footprint(Power(1.3))
    assert silent.co2e_g(5, 0, 1) is None and "intensity" not in silent.method()
    sourced = Footprint(Power(1.3), Intensity("operator 2026", (180.0,)))
    assert sourced.method() == {
        "method": "uws-service/1 reserved",
        "watts_per_core": 10.0,
        "idle_watts_per_core": 10.0,
        "watts_per_gb": 0.3725,
        "watts_per_gpu": 200.0,
        "pue": 1.3,
        "measured": False,
        "relative_uncertainty": 0.5,
        "intensity": 180.0,
        "intensity_source": "operator 2026",
    }
    assert len({silent.method_id, sourced.method_id, Footprint(Power(1.4)).method_id}) == 3


def test_embodied_is_apart() -> None:
    """N-003."""
    assert Power(1.0).embodied_g(Load(2, 0, 0, 3600, 0)) is None
    assert Power(1.0, embodied_g_per_core_hour=1.5).embodied_g(Load(2, 0, 0, 3600, 0)) == 3


@pytest.mark.parametrize(
    ("grams", "text"), [(0.00123, "1.2 mg"), (1.26, "1.3 g"), (950, "950 g"), (1750, "1.8 kg"), (2.4e6, "2.4 t")]
)
def test_what_people_read(grams: float, text: str) -> None:
    """N-007: two digits and a unit."""
    assert shown_grams(grams) == text


def test_energy_that_people_read() -> None:
    """N-007."""
    assert [shown_watt_hours(value) for value in (0.02, 3.68, 3684, 4.2e6)] == [
        "20 mWh",
        "3.7 Wh",
        "3.7 kWh",
        "4.2 MWh",
    ]
