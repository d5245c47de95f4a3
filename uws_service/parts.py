"""The parts of a service, each made from its settings; what has to be closed is left to a stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import structlog

from uws_service import __version__
from uws_service.applications import Application
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.encryption import key_in
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Rules
from uws_service.auth.tokens import Tokens
from uws_service.configuration import caller_catalogues, wants_data
from uws_service.data.catalogues import Catalogues
from uws_service.depot import Depot, renewal
from uws_service.domain.errors import ConfigurationError
from uws_service.domain.ids import now_ms
from uws_service.service.jobs import Service
from uws_service.service.notifications import Notices
from uws_service.service.receiver import Receivers
from uws_service.settings import Settings
from uws_service.sites.agent_api import Agents
from uws_service.sites.attempt_tokens import SECRET, AttemptTokens
from uws_service.sites.executor import Executor
from uws_service.sites.kinds import SiteParts, open_sites, verifiers_of
from uws_service.store import Store
from uws_service.store.reserve import Reserve
from uws_service.tap import Queries
from uws_service.tap.descriptor import catalogue_of
from uws_service.viewer import Viewers

log = structlog.get_logger(__name__)


def open_user_tokens(
    settings: Settings, rules: Rules, clock: Callable[[], float], stack: contextlib.AsyncExitStack
) -> Tokens | None:
    """Return what verifies callers' tokens, if there are issuers."""
    if not settings.auth.issuers:
        return None
    tokens = Tokens(settings.auth, rank=rules.ranked, clock=clock)
    stack.push_async_callback(tokens.close)
    return tokens


def open_depot(settings: Settings) -> Depot:
    """Return where files are kept."""
    depot = Depot.open(settings.depot_url)
    depot.renewal = renewal(settings.orphan_age)
    return depot


def open_permissions(settings: Settings, stack: contextlib.AsyncExitStack) -> PermissionsApi | None:
    """Return SRCNet's Permissions API, if the settings ask it."""
    if settings.auth.permissions is None:
        return None
    permissions = PermissionsApi(settings.auth.permissions)
    stack.push_async_callback(permissions.close)
    return permissions


def hold_reserve(settings: Settings) -> Reserve | None:
    """Return room on the disk of the embedded database; None: the database is elsewhere."""
    if settings.database is not None:
        return None
    reserve = Reserve(settings.data)
    reserve.hold()
    return reserve


async def open_executors(
    settings: Settings,
    applications: Mapping[str, Application],
    store: Store,
    depot: Depot,
    data: DataAccess | None,
    stack: contextlib.AsyncExitStack,
) -> tuple[dict[str, Executor], Agents]:
    """Return the sites' executors, and the agents' part."""
    tokens = AttemptTokens(await store.access.secret(SECRET), now_ms)
    name = await store.name()
    parts = SiteParts(depot, settings.work_folder, name, settings.fetch, data, tokens.issue, tokens.issue_ticket, store)
    executors = open_sites(settings.sites, parts)
    for executor in executors.values():
        stack.push_async_callback(executor.close)
    verifiers = verifiers_of(executors, settings.sites)
    storage = {site.name: site.storage_areas() for site in settings.sites}
    return executors, Agents(store, depot, applications, settings.fetch, data, verifiers, tokens, storage)


async def open_catalogues(settings: Settings, stack: contextlib.AsyncExitStack) -> Catalogues:
    """Return the catalogues of data.

    A static one that is wrong stops the start.
    """
    catalogues = Catalogues(settings.datasets)
    stack.push_async_callback(catalogues.close)
    await catalogues.start()
    return catalogues


async def open_viewers(settings: Settings, depot: Depot, stack: contextlib.AsyncExitStack) -> Viewers | None:
    """Return what looks into results; None if the settings or what is installed have no such thing."""
    if not settings.viewers.processes or find_spec("pyarrow") is None:
        return None
    viewers = Viewers(settings.viewers, settings.work_folder / "views", depot)
    await asyncio.to_thread(viewers.prepare)
    stack.push_async_callback(viewers.close)
    return viewers


async def open_queries(
    settings: Settings, applications: Mapping[str, Application], stack: contextlib.AsyncExitStack
) -> dict[str, Queries]:
    """Return the tables of each TAP application, ready to be queried."""
    prepared = {}
    for name, application in applications.items():
        if (catalogue := catalogue_of(application)) is not None:
            folder = settings.work_folder / "queries" / name
            queries = Queries(catalogue, folder, settings.query_processes)
            await asyncio.to_thread(queries.prepare)
            stack.push_async_callback(queries.close)
            prepared[name] = queries
    return prepared


def make_data_folder(folder: Path) -> None:
    """Make the data folder, for the service's user alone.

    One that was open to others is closed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entry = folder.stat()
        if entry.st_mode & 0o077 and entry.st_uid == os.geteuid():
            folder.chmod(0o700)
            log.warning("the data folder was open to others; it is closed now", folder=str(folder))
    except OSError as error:
        raise ConfigurationError(f"settings: data: {folder}: {error.strerror or error}") from None


def make_data_access(
    settings: Settings,
    applications: Mapping[str, Application],
    tokens: Tokens | None,
    store: Store,
    clock: Callable[[], int],
) -> DataAccess | None:
    """Return the jobs' access to data.

    None unless the settings or an application ask for it.
    """
    if tokens is None or not wants_data(settings, applications):
        return None
    return DataAccess(settings.auth, tokens, store, sealing_key(settings), clock, caller_catalogues(settings))


def sealing_key(settings: Settings) -> bytes:
    """Return what stored secrets are encrypted with."""
    if settings.auth.sealing_key is not None:
        return settings.auth.sealing_key.get_secret_value().encode()
    make_data_folder(settings.data)
    return key_in(settings.data / "sealing.key")


def make_notices(settings: Settings, service: Service) -> Notices:
    """Return subscriptions; without a key that all processes share there are no webhooks."""
    has_owners = bool(settings.auth.issuers) or settings.identity_header is not None
    is_shared = settings.auth.sealing_key is not None or settings.database_url.startswith("sqlite")
    return Notices(
        service.access,
        settings.notifications,
        Receivers(settings.notifications.webhooks, f"uws-service/{__version__}"),
        service.applications,
        sealing_key(settings) if has_owners and is_shared else None,
        service.clock,
    )
