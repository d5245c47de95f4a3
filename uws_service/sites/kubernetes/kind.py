"""The kind of site that is a namespace of a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uws_service.domain.errors import ConfigurationError
from uws_service.settings_checks import is_secure
from uws_service.sites.kind import AgentVerifier, Kind, Right, SiteParts
from uws_service.sites.kubernetes.settings import KubernetesSite

if TYPE_CHECKING:
    from uws_service.sites.executor import Executor
    from uws_service.sites.kubernetes.executor import KubernetesExecutor


def _open(site: KubernetesSite, parts: SiteParts) -> Executor:
    from uws_service.sites.kubernetes.cluster import Cluster
    from uws_service.sites.kubernetes.executor import KubernetesExecutor

    if parts.data is not None and not is_secure(site.agent_url):
        raise ConfigurationError(
            f"settings: sites: {site.name}: agent_url must begin with https:// (not {site.agent_url!r}): agents get "
            "tokens for data from there"
        )
    return KubernetesExecutor(site, parts.depot, parts.instance, Cluster(site))


def _agents(executors: Sequence[KubernetesExecutor]) -> AgentVerifier:
    from uws_service.sites.kubernetes.agent_tokens import AgentTokens

    return AgentTokens([executor.cluster for executor in executors])


async def _check(site: KubernetesSite) -> str:
    """Ask the API server for the namespace's jobs and pods, and for the queue.

    Raises
    ------
    ConfigurationError, NotNow
        It can't be asked, or does not let the service see them.
    """
    from uws_service.sites.kubernetes.cluster import Cluster, Expired, Missing

    cluster = Cluster(site)
    try:
        await cluster.open()
        await cluster.is_there()
        await cluster.all("pods", "uws-service/job")
        if site.queue:
            await cluster.find_kueue()
            for queue in site.all_queues:
                await cluster.places(queue)
    except (Missing, Expired) as error:
        raise ConfigurationError(
            f"site {site.name}: {error or 'the API server does not know what was looked for'}"
        ) from None
    finally:
        await cluster.close()
    return f"namespace {site.namespace}" + (f", queue {site.queue}" if site.queue else "")


def _rights(site: KubernetesSite) -> Sequence[Right]:
    from uws_service.sites.kubernetes.rights import rights

    return rights(site)


KUBERNETES = Kind("kubernetes", KubernetesSite, _open, agents=_agents, check=_check, rights=_rights)
