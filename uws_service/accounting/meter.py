"""The meter of a service, from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from uws_service.accounting.intensity import FileSeries, countries, read_series
from uws_service.accounting.settings import Accounting, Carbon, SiteAccounting
from uws_service.domain.energy import Footprint, Grid, Intensity, Power
from uws_service.domain.meter import Meter, SiteMeter
from uws_service.domain.price import MICRO, Budget, PriceList

Resolve = Callable[[str], Iterable[str]]


def meter_of(settings: Accounting, sites: Mapping[str, tuple[str, SiteAccounting]], resolve: Resolve) -> Meter:
    """Return the meter.

    Parameters
    ----------
    sites
        The kind and the settings of each site.
    resolve
        Returns the groups, with their issuers, that a name in the settings means.

    Raises
    ------
    ConfigurationError
        A file of intensities can't be used.
    """
    return Meter(
        sites={name: site_meter(kind, site) for name, (kind, site) in sites.items()},
        projects={group: project for name, project in settings.projects.items() for group in resolve(name)},
        prices=tuple(
            PriceList(
                prices.core_hour,
                prices.gb_hour,
                prices.gpu_hour,
                prices.gb_stored,
                prices.gb_moved,
                prices.sites,
                tuple(group for name in prices.groups for group in resolve(name)),
            )
            for prices in settings.prices
        ),
        currency=settings.currency,
        budgets=tuple(
            Budget(round(budget.amount * MICRO), budget.period, group, budget.owner)
            for budget in settings.budgets
            for group in (resolve(budget.group) if budget.group else ("",))
        ),
        charge_lost=settings.charge_lost,
        unlimited_s=settings.unlimited,
    )


def site_meter(kind: str, settings: SiteAccounting) -> SiteMeter:
    """Return what records need to know of a site."""
    benchmark, score = next(iter(settings.benchmark.items()), ("", 0.0))
    footprint = None
    if settings.energy is not None:
        energy = settings.energy
        idle = energy.idle_watts_per_core
        power = Power(
            energy.pue,
            energy.watts_per_core,
            energy.watts_per_core if idle is None else idle,
            energy.watts_per_gb,
            energy.watts_per_gpu,
            energy.embodied_g_per_core_hour,
            energy.uncertainty,
        )
        footprint = Footprint(power, None if settings.carbon is None else intensity_of(settings.carbon))
    return SiteMeter(kind, benchmark, score, footprint)


def intensity_of(carbon: Carbon) -> Grid:
    """Return the intensity of a site's grid."""
    if carbon.file is not None:
        return FileSeries(carbon.file, read_series(carbon.file, carbon.source))
    if carbon.intensity is not None:
        return Intensity(carbon.source, (carbon.intensity,))
    assert carbon.country is not None
    return countries()[carbon.country]
