"""Checks of what the settings name.

Database, depot, issuers and sites are really tried.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2

from uws_service.auth.keys import IssuerFault, IssuerKeys
from uws_service.auth.settings import Auth, Issuer
from uws_service.data.catalogue import Absent
from uws_service.data.catalogues import Catalogues, Datasets
from uws_service.data.identifiers import parse_identifier
from uws_service.data.settings import CatalogueSettings
from uws_service.depot import Depot
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.settings import Settings
from uws_service.settings_checks import mask_secrets
from uws_service.sites.kinds import kind_of
from uws_service.sites.settings import SiteSettings
from uws_service.store import Store

CHECK_SECONDS = 30.0
PROBE = "uws-service:probe"
"""Looked up to try a catalogue; it need not be there."""
SQLITE_PREFIX = "sqlite:///"


class Check(NamedTuple):
    """What came of trying one part."""

    part: str
    address: str
    problem: str = ""
    remark: str = ""


async def check_online(settings: Settings) -> list[Check]:
    """Try all that the settings name, side by side."""
    return list(await asyncio.gather(*(_timed(*part) for part in _parts(settings))))


def _parts(settings: Settings) -> Iterator[tuple[str, str, Awaitable[str]]]:
    """Yield the name and address of each part, and what tries it and returns a remark."""
    yield "database", mask_secrets(settings.database_url), _database(settings)
    yield "depot", mask_secrets(settings.depot_url), _depot(settings.depot_url)
    for issuer in settings.auth.issuers:
        yield "issuer", issuer.url, _issuer(issuer, settings.auth)
    for catalogue in settings.datasets.catalogues:
        yield f"catalogue {catalogue.name}", catalogue.kind, _catalogue(catalogue)
    for site in settings.sites:
        yield f"site {site.name}", site.kind, _site(site, settings)


async def check_site(site: SiteSettings, settings: Settings) -> Check:
    """Try one site."""
    return await _timed(f"site {site.name}", site.kind, _site(site, settings))


async def _timed(part: str, address: str, attempt: Awaitable[str]) -> Check:
    try:
        return Check(part, address, remark=await asyncio.wait_for(attempt, CHECK_SECONDS))
    except UwsError as error:
        return Check(part, address, mask_secrets(error.message))
    except TimeoutError:
        return Check(part, address, f"no answer in {CHECK_SECONDS:.0f} s")
    except (IssuerFault, OSError) as error:
        return Check(part, address, str(error))


async def _database(settings: Settings) -> str:
    url = settings.database_url
    if url.startswith(SQLITE_PREFIX):
        file = Path(url.removeprefix(SQLITE_PREFIX))
        _require_writable(file.parent)
        if not _exists(file):
            return "is made at the first start"
    try:
        store = await Store.open(url)
    except ConfigurationError:
        if settings.migrate_at_start:
            return "its schema is brought up to date at the next start"
        raise
    try:
        await store.ping()
    finally:
        await store.close()
    return ""


async def _depot(url: str) -> str:
    if not url.startswith("s3:"):
        folder = Path(url.removeprefix("file://"))
        _require_writable(folder)
        if not _exists(folder):
            return "is made at the first start"
    await Depot.open(url).check()
    return ""


async def _issuer(issuer: Issuer, auth: Auth) -> str:
    async with httpx2.AsyncClient(timeout=auth.timeout, follow_redirects=False, trust_env=False) as http:
        keys = await IssuerKeys(issuer, http, time.monotonic, stale=0).fetch_all()
    return f"{keys} key{'' if keys == 1 else 's'} for signatures"


async def _catalogue(settings: CatalogueSettings) -> str:
    catalogues = Catalogues(Datasets(catalogues=(settings,)))
    try:
        await catalogues.start()
        if settings.audience is not None:
            return "is asked in its callers' names, and was not tried"
        answer = (await catalogues.find([parse_identifier(PROBE)]))[PROBE]
    finally:
        await catalogues.close()
    if isinstance(answer, Absent) and answer.transient:
        raise UwsError(answer.reason)
    return ""


async def _site(site: SiteSettings, settings: Settings) -> str:
    check = kind_of(site).check
    if check is not None:
        return await check(site)
    _require_writable(settings.work_folder)
    return ""


def _exists(path: Path) -> bool:
    return path.exists()


def _require_writable(folder: Path) -> None:
    """Check that a folder can be written, or made in the nearest one that is there.

    Raises
    ------
    ConfigurationError
        It can't.
    """
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigurationError(f"{nearest} is no folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{nearest} can't be written by this user.")
