"""The kind of site that only calls out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from uws_service.domain.errors import ConfigurationError
from uws_service.sites.kind import Kind, SiteParts
from uws_service.sites.remote.rights import rights
from uws_service.sites.remote.settings import RemoteSite

if TYPE_CHECKING:
    from uws_service.sites.executor import Executor
    from uws_service.sites.remote.desk import Desk
    from uws_service.sites.remote.executor import RemoteExecutor


def _open(site: RemoteSite, parts: SiteParts) -> Executor:
    from uws_service.sites.remote.executor import RemoteExecutor

    if not site.keys and not site.clients:
        raise ConfigurationError(
            f"settings: sites: {site.name}: keys or clients must say how its runner shows who it is; make a key with "
            "`uws-service runner-key`"
        )
    if parts.store is None:
        raise ConfigurationError(f"settings: sites: {site.name}: a runner can't drive a site of the kind 'remote'")
    return RemoteExecutor(site, parts.depot, parts.store)


def _desks(executors: Sequence[RemoteExecutor]) -> Mapping[str, Desk]:
    return {executor.site: executor.desk for executor in executors}


REMOTE = Kind("remote", RemoteSite, _open, desks=_desks, rights=rights)
