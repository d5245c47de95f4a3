"""The registry of the kinds of site.

One line for each.

A package of somebody else's adds a kind by an entry point of the group ``uws_service.sites`` that names a `Kind`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.plugins import load_plugins
from uws_service.sites.executor import Executor
from uws_service.sites.htcondor.kind import HTCONDOR
from uws_service.sites.kind import AgentVerifier, Endpoint, Kind, SiteParts
from uws_service.sites.kubernetes.kind import KUBERNETES
from uws_service.sites.local.kind import LOCAL
from uws_service.sites.remote.kind import REMOTE
from uws_service.sites.settings import SiteSettings
from uws_service.sites.slurm.kind import SLURM
from uws_service.store import WorkFolder

if TYPE_CHECKING:
    from uws_service.sites.remote.desk import Desk

__all__ = [
    "KINDS",
    "AgentVerifier",
    "Endpoint",
    "Kind",
    "SiteParts",
    "desks_of",
    "kind_of",
    "open_sites",
    "start_on_machine",
    "verifiers_of",
]

KINDS: Mapping[str, Kind] = load_plugins("uws_service.sites", (LOCAL, KUBERNETES, HTCONDOR, SLURM, REMOTE), Kind)
"""Every kind of site, by the name that ``kind`` has in the settings."""


def kind_of(site: SiteSettings) -> Kind:
    """Return the kind of a configured site."""
    return KINDS[site.kind]


def open_sites(sites: Iterable[SiteSettings], parts: SiteParts) -> dict[str, Executor]:
    """Return an executor for each site, by name.

    Raises
    ------
    ConfigurationError
        A site can't be opened.
    """
    return {site.name: _open(site, parts) for site in sites}


def _open(site: SiteSettings, parts: SiteParts) -> Executor:
    try:
        executor = kind_of(site).open(site, parts)
    except UwsError:
        raise
    except Exception as error:  # whatever a kind of another package does
        message = f"site {site.name}: the kind {site.kind!r} does not open it: {type(error).__name__}: {error}"
        raise ConfigurationError(message) from error
    if problem := _incomplete(executor, site):
        raise ConfigurationError(f"site {site.name}: the kind {site.kind!r} does not open it: {problem}")
    executor.storage = site.storage_areas()
    return executor


def _incomplete(executor: object, site: SiteSettings) -> str:
    """Return what an executor lacks, or nothing."""
    if not isinstance(executor, Executor):
        return f"it returns no Executor, but {executor!r}"
    for name, value in (("site", site.name), ("capacity", site.slots)):
        if not isinstance(getattr(executor, name, None), type(value)):
            return f"{type(executor).__name__} must set `{name}`, here to {value!r}"
    return ""


async def start_on_machine(site: SiteSettings, executor: Executor) -> WorkFolder:
    """Start a site that belongs to one machine.

    Return its work folder.

    Raises
    ------
    ConfigurationError
        The site can't be used.
    """
    try:
        await executor.start()
    except UwsError:
        raise
    except Exception as error:  # whatever a kind of another package does
        message = f"site {site.name}: the kind {site.kind!r} does not start it: {type(error).__name__}: {error}"
        raise ConfigurationError(message) from error
    if executor.identity is None:
        raise ConfigurationError(
            f"site {site.name}: the kind {site.kind!r} is not `leased`, so {type(executor).__name__}.start must set "
            "`identity` to the WorkFolder of its jobs."
        )
    return executor.identity


def verifiers_of(executors: Mapping[str, Executor], sites: Iterable[SiteSettings]) -> list[AgentVerifier]:
    """Return the verifiers of all sites' agents.

    There is one for each kind that has any.
    """
    pairs = ((KINDS[kind].agents, members) for kind, members in _by_kind(executors, sites).items())
    return [verifier(members) for verifier, members in pairs if verifier is not None]


def desks_of(executors: Mapping[str, Executor], sites: Iterable[SiteSettings]) -> dict[str, Desk]:
    """Return where the sites' runners call, by site."""
    pairs = ((KINDS[kind].desks, members) for kind, members in _by_kind(executors, sites).items())
    return {site: desk for make, members in pairs if make is not None for site, desk in make(members).items()}


def _by_kind(executors: Mapping[str, Executor], sites: Iterable[SiteSettings]) -> dict[str, list[Executor]]:
    by_kind: dict[str, list[Executor]] = {}
    for site in sites:
        by_kind.setdefault(site.kind, []).append(executors[site.name])
    return by_kind
