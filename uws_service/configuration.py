"""The settings and the applications together: what contradicts each other stops the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uws_service.accounting import meter_of
from uws_service.accounting.identities import Outside, Pseudonyms, SiteName
from uws_service.applications import CONTAINER, Application, load_applications
from uws_service.applications.files import BUILTIN
from uws_service.auth.groups import GroupNames
from uws_service.domain.errors import ConfigurationError
from uws_service.domain.meter import Meter
from uws_service.settings import Settings
from uws_service.tap import with_catalogue_folder
from uws_service.web.faces.registry import STANDARDS

RESERVED = frozenset(
    {
        *("agent", "events", "feed", "healthz", "jobs", "livez", "login", "logout", "metrics", "notifications"),
        *("provsap", "readyz", "runner", "sites", "static", "usage", "v1"),
    }
)
"""Names that no application can have: the service's own resources have them."""


def applications_of(settings: Settings) -> dict[str, Application]:
    """Return the declared applications.

    Wrong ones stop the start with file, line and field.
    """
    shipped = [CONTAINER] if settings.containers is not None and settings.containers.application else []
    files = [*shipped, *settings.applications]
    applications = load_applications([*_shipped(settings), *files], STANDARDS, builtin=False)
    if not applications:
        raise ConfigurationError("No application is declared; name files or folders in `applications`.")
    applications = {
        name: with_catalogue_folder(application, settings.catalogue_folder)
        for name, application in applications.items()
    }
    for name in RESERVED & applications.keys():
        raise ConfigurationError(f"An application can't be called {name!r}: the service uses that path itself.")
    for name in settings.auth.applications.keys() - applications.keys():
        raise ConfigurationError(
            f"settings: auth.applications: there is no application {name!r}; there are: {', '.join(applications)}"
        )
    for site in settings.sites:
        if site.facts.compute and settings.site_capabilities is None:
            raise ConfigurationError(
                f"settings: sites: {site.name}: facts: compute names an element of Site Capabilities, and "
                "site_capabilities is missing"
            )
        if any(entry.brings for entry in site.storage_areas()) and not settings.datasets.brings:
            raise ConfigurationError(
                f"settings: sites: {site.name}: storage: bring: there is no catalogue that can bring data; one of the "
                "kind rucio can (datasets.catalogues)"
            )
    _check_containers(settings, applications)
    resolve_groups(settings, applications)
    meter(settings)
    if (names := sorted(caller_catalogues(settings))) and not any(entry.client_id for entry in settings.auth.issuers):
        raise ConfigurationError(
            f"settings: datasets.catalogues: {', '.join(names)}: asked in the callers' names, which needs an issuer "
            "with client_id in auth.issuers: their tokens are exchanged there"
        )
    if (
        wants_data(settings, applications)
        and settings.auth.sealing_key is None
        and not settings.database_url.startswith("sqlite")
    ):
        raise ConfigurationError(
            "settings: auth.sealing_key is missing: jobs get tokens for data, and with PostgreSQL all processes need "
            "the same key to encrypt them; give 32 characters or more"
        )
    return applications


NOT_FOR_THE_PUBLIC = frozenset({"sleep"})
"""Applications that ship and are for trying things out."""


def _shipped(settings: Settings) -> list[Path]:
    """Return the descriptors of the applications that ship and are to be offered."""
    files = {path.stem: path for path in sorted(BUILTIN.glob("*.yaml"))}
    wanted_names = settings.builtin_applications
    if isinstance(wanted_names, bool):
        hidden_names = NOT_FOR_THE_PUBLIC if settings.is_public else frozenset()
        return [path for name, path in files.items() if wanted_names and name not in hidden_names]
    if unknown := [name for name in wanted_names if name not in files]:
        raise ConfigurationError(
            f"settings: builtin_applications: {', '.join(unknown)}: no such application ships; "
            f"there are: {', '.join(files)}"
        )
    return [path for name, path in files.items() if name in wanted_names]


def _check_containers(settings: Settings, applications: Mapping[str, Application]) -> None:
    """Raise if jobs name images and none is allowed, or settings name what is not there."""
    named = [name for name, application in applications.items() if application.standard.names_image]
    if named and settings.containers is None:
        raise ConfigurationError(
            f"settings: containers.images is missing: jobs of {', '.join(named)} name container images, and the "
            "service needs the list of those that may run"
        )
    sites = {site.name for site in settings.sites}
    for rule in settings.containers.images if settings.containers is not None else ():
        for site in set(rule.sites) - sites:
            raise ConfigurationError(
                f"settings: containers.images: {rule.repository}: there is no site {site!r}; there are: "
                f"{', '.join(sorted(sites))}"
            )
    if settings.srcnet_broker is not None and settings.srcnet_broker not in named:
        raise ConfigurationError(
            f"settings: srcnet_broker: {settings.srcnet_broker!r} is no application whose jobs name their image; "
            f"there are: {', '.join(named) or 'none (`containers` offers one)'}"
        )


def resolve_groups(settings: Settings, applications: Mapping[str, Application]) -> Settings:
    """Return the settings with the groups of sites and shares resolved; raise if a name of a group is wrong."""
    names = GroupNames.of(settings.auth)
    where = ""
    try:
        for name, application in applications.items():
            where = f"application {name}: access.groups"
            for group in application.access.groups if application.access is not None else ():
                names.resolve(group)
        sites = []
        for site in settings.sites:
            where = f"settings: sites: {site.name}"
            sites.append(site.with_groups(names.resolve))
        where = "settings: containers.images"
        containers = settings.containers.with_groups(names.resolve) if settings.containers is not None else None
        where = "settings: placement.shares.groups"
        shares = settings.placement.shares.with_groups(names.resolve)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    placement = settings.placement.model_copy(update={"shares": shares})
    return settings.model_copy(update={"sites": tuple(sites), "containers": containers, "placement": placement})


def meter(settings: Settings) -> Meter:
    """Return the rules by which attempts are accounted for."""
    sites = {site.name: (site.kind, site.accounting) for site in settings.sites}
    for index, prices in enumerate(settings.accounting.prices):
        if unknown := set(prices.sites) - sites.keys():
            raise ConfigurationError(
                f"settings: accounting.prices[{index}].sites: {', '.join(sorted(unknown))}: no such site; "
                f"there are: {', '.join(sites)}"
            )
    resolve = GroupNames.of(settings.auth).resolve
    try:
        for group, managers in settings.accounting.managers.items():
            for name in (group, *(manager for manager in managers if manager.startswith("/"))):
                resolve(name)
        return meter_of(settings.accounting, sites, resolve)
    except ValueError as error:
        raise ConfigurationError(f"settings: accounting: {error}") from None


def outside_of(settings: Settings, pseudonyms: Pseudonyms) -> Outside:
    """Return what readers of accounts get to know, and how."""
    return Outside(
        settings.base_url or "http://localhost",
        {
            site.name: SiteName(site.accounting.name or site.name, site.accounting.infrastructure)
            for site in settings.sites
        },
        settings.accounting.identities,
        pseudonyms,
        GroupNames.of(settings.auth).default_hosts,
        settings.accounting.default_vo,
    )


def wants_data(settings: Settings, applications: Mapping[str, Application]) -> bool:
    """Return whether any job may get a token for what it fetches."""
    has_token = any(application.data_token is not None for application in applications.values())
    return bool(settings.auth.issuers and (settings.auth.data_access or has_token or caller_catalogues(settings)))


def caller_catalogues(settings: Settings) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return audience and scopes of the catalogues that are asked in the callers' names."""
    return {
        catalogue.name: (catalogue.audience, catalogue.token_scopes)
        for catalogue in settings.datasets.catalogues
        if catalogue.audience is not None
    }
