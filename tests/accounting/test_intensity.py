"""Intensities of grids, and meters from settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from uws_service.accounting import SiteAccounting, meter_of
from uws_service.accounting.intensity import FileSeries, countries, read_series
from uws_service.accounting.settings import Accounting
from uws_service.auth.groups import GroupNames
from uws_service.configuration import meter
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

OTHER_TABLE = {
    "GBR": 237.6, "FRA": 56.0, "ESP": 174.1, "CHE": 34.8, "CAN": 170.0, "AUS": 548.7, "ZAF": 707.7, "CHN": 582.3,
    "NLD": 267.6, "SWE": 40.7, "JPN": 485.4, "IND": 713.4, "ITA": 330.7, "PRT": 165.6, "DEU": 381.0, "USA": 369.5,
    "KOR": 430.6, "WORLD": 475.0,
}  # fmt: skip
"""Of codecarbon 3.3.2 (Our World in Data, mostly 2023)."""
HOUR_MS = 3_600_000
NAMES = GroupNames(["iam.example.org", "other.example.org"], ["iam.example.org"])


@pytest.mark.parametrize("country", OTHER_TABLE)
def test_table(country: str) -> None:
    """Two tables of the same thing differ by less than a factor of two; each figure has its source (N-004)."""
    intensity = countries()[country]
    assert 0.5 < intensity.values[0] / OTHER_TABLE[country] < 2
    assert "Ember" in intensity.source and country in intensity.source


def test_series_is_read_again(tmp_path: Path) -> None:
    """What a live source writes counts from then on; a file that can't be used changes nothing."""
    path = tmp_path / "grid.csv"
    path.write_text("time,gco2e_per_kwh\n1970-01-01T00:00Z,100\n1970-01-01T01:00:00,300\n")
    series = FileSeries(path, read_series(path, "the operator"))
    assert (series.mean(0, 2 * HOUR_MS), series.source, series.constant) == (200, "the operator", None)
    path.write_text("time,gco2e_per_kwh\n1970-01-01T00:00Z,50\n")
    assert series.mean(0, 2 * HOUR_MS) == 50
    path.write_text("time,gco2e_per_kwh\nyesterday,1\n")
    assert series.mean(0, 2 * HOUR_MS) == 50
    path.unlink()
    assert series.mean(0, 2 * HOUR_MS) == 50


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: must be time,gco2e_per_kwh"),
        ("time,g\n", ":1: must be"),
        ("time,gco2e_per_kwh\n", "no line with a value"),
        ("time,gco2e_per_kwh\n2026-01-01,x\n", ":2: "),
        ("time,gco2e_per_kwh\n2026-01-01,1\n2026-01-01,2\n", ":3: times must ascend"),
        ("time,gco2e_per_kwh\n2026-01-01,-1\n", ":2: times must ascend, values"),
    ],
)
def test_wrong_series(tmp_path: Path, text: str, words: str) -> None:
    """The error names the line."""
    path = tmp_path / "grid.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_series(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"carbon": {"country": "GBR"}}, "carbon needs energy"),
        ({"energy": {}}, "pue"),
        ({"energy": {"pue": 1.2}, "carbon": {"country": "XXX"}}, "not in the table"),
        ({"energy": {"pue": 1.2}, "carbon": {"intensity": 5}}, "needs its source"),
        ({"energy": {"pue": 1.2}, "carbon": {"country": "GBR", "intensity": 5, "source": "x"}}, "exactly one"),
        ({"energy": {"pue": 1.2, "watts_per_core": 5, "idle_watts_per_core": 6}}, "above"),
        ({"benchmark": {"hepscore23": 1, "hepspec": 2}}, "one benchmark"),
        ({"benchmark": {"HS23": 1}}, "hepscore23"),
    ],
)
def test_wrong_settings_of_sites(values: dict[str, Any], words: str) -> None:
    """ACC-010, N-005: nothing is guessed."""
    with pytest.raises(ValidationError, match=words):
        SiteAccounting.model_validate(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"budgets": [{"amount": 1, "group": "/g"}]}, "budgets need prices"),
        ({"prices": [{}], "budgets": [{"amount": 1}]}, "either a group or an owner"),
        ({"prices": [{}], "budgets": [{"amount": 1, "group": "/g", "owner": "x"}]}, "either a group or an owner"),
        ({"currency": "€"}, "currency"),
    ],
)
def test_wrong_settings(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Accounting.model_validate(values)


def test_meter() -> None:
    """Groups get their issuers; sites have what their settings say, and nothing else."""
    settings = Accounting.model_validate(
        {
            "projects": {"/ska": "SKA"},
            "prices": [{"core_hour": 1, "groups": ["/ska"]}],
            "budgets": [{"group": "/ska", "amount": 12.34}, {"owner": "ada", "amount": 1, "period": "total"}],
        }
    )
    site = {"benchmark": {"hepscore23": 12.3}, "energy": {"pue": 1.2}, "carbon": {"country": "SWE"}}
    sites = {"a": ("local", SiteAccounting.model_validate(site)), "b": ("kubernetes", SiteAccounting())}
    rules = meter_of(settings, sites, NAMES.resolve)
    assert rules.projects == {"/ska@iam.example.org": "SKA"}
    assert rules.prices[0].groups == ("/ska@iam.example.org",)
    assert [(budget.group, budget.owner, budget.amount) for budget in rules.budgets] == [
        ("/ska@iam.example.org", "", 12_340_000),
        ("", "ada", 1_000_000),
    ]
    assert (rules.sites["a"].benchmark, rules.sites["a"].benchmark_value) == ("hepscore23", 12.3)
    assert rules.sites["b"].footprint is None and len(rules.methods()) == 1
    power = rules.sites["a"].footprint.power
    assert power.idle_core == power.core == 10


@pytest.mark.parametrize(
    ("accounting", "words"),
    [
        ({"prices": [{"sites": ["nowhere"]}]}, r"prices\[0\].sites: nowhere: no such site; there are: local"),
        ({"prices": [{"groups": ["/g@evil.example.org"]}]}, "which is not trusted"),
        ({"managers": {"/g": ["/m@evil.example.org"]}}, "which is not trusted"),
        ({"projects": {"/g@evil.example.org": "X"}}, "which is not trusted"),
    ],
)
def test_settings_that_stop_the_start(accounting: dict[str, Any], words: str) -> None:
    """A name that means nothing here is no silent exception from prices or rights."""
    auth = {"issuers": [{"url": "https://iam.example.org", "audience": "uws"}]}
    settings = Settings.model_validate({"auth": auth, "accounting": accounting})
    with pytest.raises(ConfigurationError, match=words):
        meter(settings)
