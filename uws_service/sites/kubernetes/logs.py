"""The logs of commands in pods.

As they are now, and into the depot at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

import structlog

from uws_service.depot import Depot
from uws_service.domain.errors import NotFound
from uws_service.domain.job import Result
from uws_service.sites.executor import log_key
from uws_service.sites.kubernetes import manifest
from uws_service.sites.kubernetes.cluster import Cluster, Missing, SiteDown, SiteRefuses
from uws_service.sites.kubernetes.views import Key, PodView, pod_view

log = structlog.get_logger(__name__)

LIVE_LOG_BYTES = 1024 * 1024
"""Of a running command's log, these last bytes are shown."""
LOG_MAX_BYTES = 64 * 1024 * 1024
"""Of a log, these first bytes are stored."""
LIVE_LINES = 5000
TAIL_LINES = 40
TAIL_BYTES = 4096


class Logs:
    """The logs of one service's pods in a namespace."""

    def __init__(self, cluster: Cluster, depot: Depot, instance: str) -> None:
        self.cluster = cluster
        self.depot = depot
        self.instance = instance

    async def store(self, key: Key, pods: Iterable[PodView]) -> tuple[Result, ...]:
        """Put the command's log into the depot.

        Where it can't be had, what an earlier call put there counts.
        """
        target = log_key(key[0], "stdout")
        pod = _newest(pods)
        if pod is not None:
            try:
                stored = await self.depot.put(target, self._chunks(pod), max_size=2 * LOG_MAX_BYTES)
                return (Result("stdout", target, "text/plain", stored.size, stored.sha256),)
            except (NotFound, SiteDown) as error:  # the log went with the pod, or can't be read now
                site = self.cluster.site.name
                log.info("log can't be had", job=key[0], attempt=key[1], site=site, error=str(error))
        earlier = await self.depot.head(target)
        return (Result("stdout", target, "text/plain", earlier.size, ""),) if earlier is not None else ()

    async def _chunks(self, pod: PodView) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.cluster.log(pod.name, manifest.COMMAND, limit=LOG_MAX_BYTES):
                yield chunk
        except (Missing, SiteRefuses) as error:
            raise NotFound(f"The log of {pod.name} is not there: {error}") from None

    async def tail(self, pods: Iterable[PodView]) -> str:
        """Return the last lines of the command's log.

        Nothing if they can't be had.
        """
        pod = _newest(pods)
        if pod is None:
            return ""
        text = b""
        with contextlib.suppress(Missing, SiteRefuses, SiteDown):
            async for chunk in self.cluster.log(pod.name, manifest.COMMAND, limit=LIVE_LOG_BYTES, tail=TAIL_LINES):
                text += chunk
        return text[-TAIL_BYTES:].decode("utf-8", "replace")

    async def read(self, job_id: str, number: int) -> bytes | None:
        """Return the end of the log.

        It asks the cluster, so any replica of the service can.
        """
        selector = f"{manifest.selector(self.instance)}={job_id},{manifest.ATTEMPT}={number}"
        try:
            documents, _ = await self.cluster.all("pods", selector)
            pod = _newest(view for view in map(pod_view, documents) if view is not None)
            if pod is None:
                return None
            text = b""
            async for chunk in self.cluster.log(pod.name, manifest.COMMAND, limit=LIVE_LOG_BYTES, tail=LIVE_LINES):
                text += chunk
        except (Missing, SiteRefuses):
            return None
        return text[-LIVE_LOG_BYTES:]


def _newest(pods: Iterable[PodView]) -> PodView | None:
    """Return the newest pod whose command has begun."""
    started = [pod for pod in pods if pod.started is not None]
    return max(started, key=lambda pod: pod.created, default=None)
