"""The kind of site that is this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uws_service.sites.kind import Kind, SiteParts
from uws_service.sites.local.settings import LocalSite

if TYPE_CHECKING:
    from uws_service.sites.executor import Executor


def _open(site: LocalSite, parts: SiteParts) -> Executor:
    from uws_service.sites.local.executor import LocalExecutor

    return LocalExecutor(
        site.name,
        parts.work / site.name,
        parts.depot,
        capacity=site.slots,
        allow_private=parts.fetch.allow_private,
        allow_hosts=parts.fetch.allow_hosts,
        fetch_timeout=parts.fetch.timeout,
        data=parts.data,
        processes=site.processes,
        runner=site.runner,
        preloaded=site.preloaded,
        path=site.path,
    )


LOCAL = Kind("local", LocalSite, _open, leased=False)
