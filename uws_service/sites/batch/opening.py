"""Open a site of any batch system."""

from __future__ import annotations

from uws_service.domain.errors import ConfigurationError
from uws_service.settings_checks import is_secure
from uws_service.sites.batch.driver import BatchSystem
from uws_service.sites.batch.executor import BatchExecutor
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.kind import SiteParts


def open_batch(site: BatchSite, parts: SiteParts, system: BatchSystem) -> BatchExecutor:
    """Return the executor of a site over its batch system.

    Raises
    ------
    ConfigurationError
        Agents would get tokens for data in plain text, or nobody can give tickets to them.
    """
    if parts.data is not None and not is_secure(site.agent_url):
        raise ConfigurationError(
            f"settings: sites: {site.name}: agent_url must begin with https:// (not {site.agent_url!r}): agents get "
            "tokens for data from there"
        )
    if parts.issue_ticket is None:
        raise ConfigurationError(f"site {site.name}: nothing issues tickets for its agents")
    return BatchExecutor(site, system, parts.depot, parts.issue_ticket)
