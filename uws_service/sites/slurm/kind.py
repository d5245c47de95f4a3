"""The kind of site that is a Slurm cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from uws_service.sites.kind import Finding, Kind, Right, SiteParts
from uws_service.sites.slurm.settings import SlurmSite

if TYPE_CHECKING:
    from uws_service.sites.executor import Executor
    from uws_service.sites.slurm.client import SlurmClient


def _client(site: SlurmSite) -> SlurmClient:
    if site.url is None:
        from uws_service.sites.slurm.commands import CommandClient

        return CommandClient(site)
    from uws_service.sites.slurm.rest import RestClient, check_files

    check_files(site)
    return RestClient(site)


def _open(site: SlurmSite, parts: SiteParts) -> Executor:
    from uws_service.sites.batch.opening import open_batch
    from uws_service.sites.slurm.system import SlurmSystem

    return open_batch(site, parts, SlurmSystem(site, parts.instance, _client(site)))


async def _check(site: SlurmSite) -> str:
    """Ask the cluster who it is, and for its jobs.

    Raises
    ------
    ConfigurationError, NotNow
        It can't be asked, or does not take the credentials.
    """
    client = _client(site)
    try:
        return await client.ping()
    finally:
        await client.close()


def _trial(site: SlurmSite, image: str) -> AsyncIterator[Finding]:
    from uws_service.sites.batch.trial import try_batch
    from uws_service.sites.slurm.system import SlurmSystem

    return try_batch(site, image, lambda name: SlurmSystem(site, name, _client(site)))


def _rights(site: SlurmSite) -> Sequence[Right]:
    from uws_service.sites.slurm.rights import rights

    return rights(site)


SLURM = Kind("slurm", SlurmSite, _open, tickets=True, check=_check, trial=_trial, rights=_rights)
