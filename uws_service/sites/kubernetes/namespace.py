"""What is of this service in a namespace.

Copies follow the cluster's watches, and observations are made of them, by attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from uws_service.domain.attempt import Observation, Reason, Seen
from uws_service.domain.errors import UwsError
from uws_service.sites.kubernetes import manifest
from uws_service.sites.kubernetes.cluster import Cluster, Missing, SiteRefuses
from uws_service.sites.kubernetes.mirror import Mirror
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.sites.kubernetes.verdict import DELETED, Patience, observe
from uws_service.sites.kubernetes.views import JobView, Key, PodView, WorkloadView, job_view, pod_view, workload_view

log = structlog.get_logger(__name__)

APPEARANCE_SECONDS = 30.0
"""In this time a Job that was made must be seen."""
PLACES_SECONDS = 2.0
"""Pause between two looks at the places in a queue."""
NO_PLACES_SECONDS = 60.0
"""The same where the cluster does not give them."""


class Namespace:
    """The Jobs, pods and Workloads of one service in a namespace.

    Parameters
    ----------
    site
        The site's settings.
    instance
        Name of the service's database: only what carries it belongs to this service.
    cluster
        The way to the API server.
    """

    def __init__(self, site: KubernetesSite, instance: str, cluster: Cluster) -> None:
        self.settings = site
        self.cluster = cluster
        self.patience = Patience(site.image_patience, site.schedule_patience, site.volume_patience)
        selector = manifest.selector(instance)
        self._jobs: Mirror[JobView] = Mirror(cluster, "jobs", selector, job_view, self._job_changed)
        self._pods: Mirror[PodView] = Mirror(cluster, "pods", selector, pod_view, self._pod_changed)
        workloads: Mirror[WorkloadView] = Mirror(cluster, "workloads", "", workload_view, self._workload_changed)
        self.mirrors: list[Mirror[Any]] = [self._jobs, self._pods, *([workloads] if site.queue else [])]
        self.jobs: dict[Key, JobView] = {}
        self.pods: dict[Key, dict[str, PodView]] = {}
        self.created: dict[Key, float | None] = {}
        """Jobs that were made here: when (monotonic), or None once they were seen in the namespace."""
        self.deletions: dict[Key, float] = {}
        """When (monotonic) the deletion of an attempt was last asked for."""
        self.change = asyncio.Event()
        self._workloads: dict[str, WorkloadView] = {}
        self._places: dict[str, int] = {}
        self._stuck_since: dict[str, int] = {}
        self._observations: dict[Key, Observation] = {}
        self._dirty: set[Key] = set()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run while the namespace is followed."""
        queues = self.settings.all_queues
        return [*(mirror.run() for mirror in self.mirrors), *([self._follow_queues(queues)] if queues else [])]

    @property
    def is_complete(self) -> bool:
        """Return whether the copies can be trusted.

        They were made from whole lists and are being followed.
        """
        return all(mirror.complete.is_set() for mirror in self.mirrors)

    def invalidate(self) -> None:
        """Trust the copies no more.

        Their watches may hang on a dead connection.
        """
        for mirror in self.mirrors:
            mirror.complete.clear()

    async def wait_complete(self) -> None:
        """List anew what is not complete, and wait for it."""
        for mirror in self.mirrors:
            if not mirror.complete.is_set():
                mirror.relist()
            await mirror.complete.wait()

    def touch(self, key: Key) -> None:
        """Look at an attempt again in the next round."""
        self._dirty.add(key)
        self.change.set()

    async def wait_change(self, timeout: float) -> None:
        """Wait for a change in the namespace.

        Return after so many seconds in any case.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.change.wait()

    def observe(self) -> list[Observation]:
        """Return everything of ours, from the copies."""
        now = int(time.time() * 1000)
        impatient = {
            pod.key
            for pod in self._pods.views.values()
            if pod.stuck or pod.unschedulable or pod.unready_since is not None
        }
        impatient |= {key for key, since in self.created.items() if since is not None}
        for key in self._dirty | impatient:
            self._observe(key, now)
        self._dirty.clear()
        return list(self._observations.values())

    def _observe(self, key: Key, now: int) -> None:
        job, pods = self.jobs.get(key), list(self.pods.get(key, {}).values())
        if job is None and not pods:
            missing = self._missing(key)
            if missing is None:
                self._observations.pop(key, None)
                self.deletions.pop(key, None)
            else:
                self._observations[key] = missing
            return
        workload = self._workloads.get(job.name) if job is not None else None
        place = self._places.get(job.name) if job is not None else None
        stuck = min((self._stuck_since[pod.name] for pod in pods if pod.name in self._stuck_since), default=None)
        observation = observe(key, job, pods, workload, now, self.patience, stuck, place)
        self._observations[key] = replace(observation, handle=job.uid) if job is not None else observation

    def _missing(self, key: Key) -> Observation | None:
        """Return what to say of a Job that is not there.

        It was not seen yet, or deleted by us (None), or by somebody else.
        """
        if key not in self.created:
            return None
        since = self.created[key]
        if since is not None and time.monotonic() - since < APPEARANCE_SECONDS:
            return Observation(*key, Seen.STARTING)
        return Observation(*key, Seen.FAILED, reason=Reason.DELETED, message=DELETED, reports=True, gone=True)

    # -- what the watches bring ------------------------------------------------------------------------------------

    def _job_changed(self, _name: str, before: JobView | None, after: JobView | None) -> None:
        view = after or before
        assert view is not None
        if after is None:
            self.jobs.pop(view.key, None)
        else:
            self.jobs[view.key] = after
            if view.key not in self.deletions:  # its end is then our own doing
                self.created[view.key] = None
        self.touch(view.key)

    def _pod_changed(self, name: str, before: PodView | None, after: PodView | None) -> None:
        view = after or before
        assert view is not None
        pods = self.pods.setdefault(view.key, {})
        if after is None:
            pods.pop(name, None)
            self._stuck_since.pop(name, None)
            if not pods:
                del self.pods[view.key]
        else:
            pods[name] = after
            if after.stuck:
                self._stuck_since.setdefault(name, int(time.time() * 1000))
        self.touch(view.key)

    def _workload_changed(self, _name: str, before: WorkloadView | None, after: WorkloadView | None) -> None:
        view = after or before
        assert view is not None
        if after is None:
            self._workloads.pop(view.job, None)
        else:
            self._workloads[view.job] = after
        self._touch_job(view.job)

    def _touch_job(self, name: str) -> None:
        job = self._jobs.views.get(name)
        if job is not None:
            self.touch(job.key)

    async def _follow_queues(self, queues: Sequence[str]) -> None:
        """Ask Kueue for the places of what it holds.

        A cluster need not give them.
        """
        while True:
            pause = PLACES_SECONDS
            if any(job.suspended for job in self.jobs.values()):
                places: dict[str, int] = {}
                try:
                    for queue in queues:
                        places |= await self.cluster.places(queue)
                except (UwsError, Missing, SiteRefuses, LookupError, ValueError) as error:
                    log.debug("no places in the queue", site=self.settings.name, error=str(error))
                    pause = NO_PLACES_SECONDS
                for name in places.keys() | self._places.keys():
                    if places.get(name) != self._places.get(name):
                        self._touch_job(name)
                self._places = places
            await asyncio.sleep(pause)
