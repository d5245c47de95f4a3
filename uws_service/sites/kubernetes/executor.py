"""One namespace of one cluster as a site: Jobs are made and deleted there, and what is there is followed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import structlog

from uws_service import telemetry
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Launch, Observation, Reason, Seen
from uws_service.domain.errors import NotFound, UsageError, UwsError
from uws_service.domain.job import Result
from uws_service.sites.executor import Collected, Executor, Health, Refused, log_key
from uws_service.sites.kubernetes import manifest
from uws_service.sites.kubernetes import views as views_module
from uws_service.sites.kubernetes.cluster import Cluster, Exists, Missing, SiteDown, SiteRefuses
from uws_service.sites.kubernetes.mirror import Mirror
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.sites.kubernetes.views import JobView, Key, Patience, PodView, WorkloadView

log = structlog.get_logger(__name__)

LOG_END = 1024 * 1024
"""Bytes of a running command's log that are shown."""
LOG_MOST = 64 * 1024 * 1024
"""Bytes of a log that are kept."""
TAIL_LINES = 40
APPEARS = 30.0
"""Seconds in which a Job that was made must be seen."""
AGAIN = 5.0
"""Seconds after which a deletion is repeated if it shows no effect."""
PLACES = 2.0
"""Seconds between two looks at the places in a queue."""
NO_PLACES = 60.0
"""The same where the cluster does not tell them."""
HEARTBEAT = 5.0
"""Seconds between two questions whether the API server is there; a silent watch tells nothing."""


class KubernetesExecutor(Executor):
    """Runs attempts as Jobs.

    Parameters
    ----------
    site
        The site's settings.
    depot
        Where logs go; the agents' results go there by way of the service.
    instance
        Name of the service's database: only what carries it is ours.
    cluster
        The way to the API server.
    """

    streams: tuple[str, ...] = ("stdout",)

    def __init__(self, site: KubernetesSite, depot: Depot, instance: str, cluster: Cluster) -> None:
        self.site = site.name
        self.capacity = site.slots
        self.settings = site
        self.depot = depot
        self.instance = instance
        self.cluster = cluster
        self.patience = Patience(site.image_patience, site.schedule_patience)
        selector = manifest.selector(instance)
        self._jobs: Mirror[JobView] = Mirror(cluster, "jobs", selector, views_module.job_view, self._job_changed)
        self._pods: Mirror[PodView] = Mirror(cluster, "pods", selector, views_module.pod_view, self._pod_changed)
        self._workloads: Mirror[WorkloadView] = Mirror(
            cluster, "workloads", "", views_module.workload_view, self._workload_changed
        )
        self._mirrors: list[Mirror[Any]] = [self._jobs, self._pods, *([self._workloads] if site.queue else [])]
        self._job_of: dict[Key, JobView] = {}
        self._pods_of: dict[Key, dict[str, PodView]] = {}
        self._workload_of: dict[str, WorkloadView] = {}
        self._place_of: dict[str, int] = {}
        self._stuck_since: dict[str, int] = {}
        self._seen: dict[Key, Observation] = {}
        self._made: dict[Key, float | None] = {}
        """Jobs that were made here: when (monotonic), or None once they were seen in the namespace."""
        self._deleting: dict[Key, float] = {}
        self._dirty: set[Key] = set()
        self._change = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._down_since: float | None = time.time()
        self._problem = "The site was not looked at yet."

    # -- the site --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow what is in the namespace."""
        await self.cluster.open()
        self._tasks = [asyncio.create_task(mirror.run()) for mirror in self._mirrors]
        self._tasks.append(asyncio.create_task(self._beat()))
        if self.settings.queue:
            self._tasks.append(asyncio.create_task(self._follow_queue(self.settings.queue)))

    async def stop(self) -> None:
        """Follow no more; the Jobs go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for mirror in self._mirrors:
            mirror.complete.clear()

    async def close(self) -> None:
        """End the connections."""
        await self.cluster.close()

    def health(self) -> Health:
        """Whether the API server answers and the copy is whole."""
        return Health(self._down_since is None, int((self._down_since or 0) * 1000), self._problem)

    async def _beat(self) -> None:
        """Ask the API server again and again; whatever it missed meanwhile is listed anew."""
        kueue = self.settings.queue is None
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT * 2):
                    if not kueue:
                        await self.cluster.find_kueue()
                        kueue = True
                    await self.cluster.is_there()
                    for mirror in self._mirrors:
                        if not mirror.complete.is_set():
                            mirror.relist()
                        await mirror.complete.wait()
                self._up()
            except UwsError as error:
                self._down(error.message)
            except TimeoutError:
                problems = [mirror.problem for mirror in self._mirrors if mirror.problem]
                self._down(problems[0] if problems else f"site {self.site}: no answer in {HEARTBEAT * 2:.0f} s")
            except Exception as error:
                log.exception("heartbeat failed", site=self.site)
                self._down(repr(error))
            pause = HEARTBEAT if self._down_since is None else 1.0
            await asyncio.sleep(pause)

    def _up(self) -> None:
        if self._down_since is not None:
            log.info("site is reachable", site=self.site)
            self._down_since, self._problem = None, ""
            self._change.set()

    def _down(self, problem: str) -> None:
        if self._down_since is None:
            log.warning("site can't be reached", site=self.site, error=problem)
            self._down_since = time.time()
            for mirror in self._mirrors:  # their watches may hang on a dead connection
                mirror.complete.clear()
            self._change.set()
        self._problem = problem

    async def _follow_queue(self, queue: str) -> None:
        """Ask Kueue for the places of what it holds, while it holds anything; a cluster need not tell."""
        while True:
            pause = PLACES
            if any(job.suspended for job in self._job_of.values()):
                try:
                    places = await self.cluster.places(queue)
                except (UwsError, Missing, SiteRefuses, LookupError, ValueError) as error:
                    log.debug("places in the queue are not told", site=self.site, error=str(error))
                    places, pause = {}, NO_PLACES
                for name in places.keys() | self._place_of.keys():
                    found = self._jobs.known.get(name)
                    if found is not None and places.get(name) != self._place_of.get(name):
                        self._touch(found.key)
                self._place_of = places
            await asyncio.sleep(pause)

    # -- look ------------------------------------------------------------------------------------------------------

    def _job_changed(self, _name: str, before: JobView | None, after: JobView | None) -> None:
        view = after or before
        assert view is not None
        if after is None:
            self._job_of.pop(view.key, None)
        else:
            self._job_of[view.key] = after
            if view.key not in self._deleting:  # its end is then our own doing
                self._made[view.key] = None
        self._touch(view.key)

    def _pod_changed(self, name: str, before: PodView | None, after: PodView | None) -> None:
        view = after or before
        assert view is not None
        pods = self._pods_of.setdefault(view.key, {})
        if after is None:
            pods.pop(name, None)
            self._stuck_since.pop(name, None)
            if not pods:
                del self._pods_of[view.key]
        else:
            pods[name] = after
            if after.stuck:
                self._stuck_since.setdefault(name, int(time.time() * 1000))
        self._touch(view.key)

    def _workload_changed(self, name: str, before: WorkloadView | None, after: WorkloadView | None) -> None:
        view = after or before
        assert view is not None
        if after is None:
            self._workload_of.pop(view.job, None)
        else:
            self._workload_of[view.job] = after
        found = self._jobs.known.get(view.job)
        if found is not None:
            self._touch(found.key)

    def _touch(self, key: Key) -> None:
        self._dirty.add(key)
        self._change.set()

    async def observe(self) -> list[Observation]:
        """Everything of ours in the namespace, from the copy; raises `SiteDown` while that is not whole."""
        self._change.clear()
        if not all(mirror.complete.is_set() for mirror in self._mirrors):
            raise SiteDown(self._problem or f"site {self.site}: it was not looked at yet.", sent=False)
        now = int(time.time() * 1000)
        impatient = {pod.key for pod in self._pods.known.values() if pod.stuck or pod.unschedulable}
        impatient |= {key for key, since in self._made.items() if since is not None}
        for key in self._dirty | impatient:
            self._look(key, now)
        self._dirty.clear()
        return list(self._seen.values())

    def _look(self, key: Key, now: int) -> None:
        job, pods = self._job_of.get(key), list(self._pods_of.get(key, {}).values())
        if job is None and not pods:
            missing = self._missing(key)
            if missing is None:
                self._seen.pop(key, None)
                self._deleting.pop(key, None)
            else:
                self._seen[key] = missing
            return
        workload = self._workload_of.get(job.name) if job is not None else None
        place = self._place_of.get(job.name) if job is not None else None
        stuck = min((self._stuck_since[pod.name] for pod in pods if pod.name in self._stuck_since), default=None)
        self._seen[key] = views_module.observe(key, job, pods, workload, now, self.patience, stuck, place)

    def _missing(self, key: Key) -> Observation | None:
        """A Job that is not in the namespace: not seen there yet, deleted by us, or by somebody else."""
        if key not in self._made:
            return None
        since = self._made[key]
        if since is not None and time.monotonic() - since < APPEARS:
            return Observation(*key, Seen.STARTING)
        return Observation(
            *key, Seen.FAILED, reason=Reason.DELETED, message=views_module.DELETED, reports=True, gone=True
        )

    async def wait_change(self, timeout: float) -> None:
        """Until something in the namespace has changed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._change.wait()

    # -- act -------------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Make the Job; one of this name that carries the attempt's labels is the attempt itself.

        Raises
        ------
        Refused
            The site will never take it.
        SiteDown, SiteBusy
            Not now.
        """
        try:
            body = manifest.job_manifest(launch, self.settings, self.instance)
        except UsageError as error:
            raise Refused(error.message) from None
        began = time.perf_counter()
        try:
            await self.cluster.create(body)
        except Exists:
            await self._adopt(launch, body["metadata"]["name"])
        except Missing as error:
            raise SiteDown(f"site {self.site}: {error}", sent=False) from None
        except SiteRefuses as error:
            raise Refused(f"The site {self.site} does not take the job: {error.message}") from None
        self._made.setdefault((launch.job_id, launch.number), time.monotonic())
        self._touch((launch.job_id, launch.number))
        telemetry.SITE_CREATE.labels(self.site).observe(time.perf_counter() - began)

    async def _adopt(self, launch: Launch, name: str) -> None:
        try:
            found = await self.cluster.get("jobs", name)
        except Missing:
            raise SiteDown(f"site {self.site}: the Job {name} is just being removed.", sent=False) from None
        wanted = manifest.labels_of(launch, self.instance)
        labels = found["metadata"].get("labels") or {}
        mine = all(labels.get(one) == wanted[one] for one in (manifest.INSTANCE, manifest.JOB, manifest.ATTEMPT))
        if not mine:
            raise Refused(f"The site {self.site} has another Job with the name {name}.")

    async def kill(self, job_id: str, number: int) -> None:
        """Keep the log, then delete the Job: its pod gets SIGTERM, and after the grace SIGKILL."""
        key = job_id, number
        if key in self._job_of and key not in self._deleting:
            await self._keep_log(key)
            await self._remove_pods(key)  # before the Job: whoever removes them after it gives them more time
        await self._delete(key)

    async def _delete(self, key: Key) -> None:
        """Delete the Job, at most every few seconds; or what is left of one that is gone."""
        now = time.monotonic()
        if now - self._deleting.get(key, -AGAIN) < AGAIN:
            return
        self._deleting[key] = now
        job = self._job_of.get(key)
        if job is None and self._made.get(key) is not None:  # made, but not seen yet
            await self.cluster.delete(manifest.job_name(*key))
        elif job is not None and not job.deleting:
            await self.cluster.delete(job.name, job.uid)
        elif job is None:
            await self._remove_pods(key)
        self._made.pop(key, None)
        self._touch(key)

    async def _remove_pods(self, key: Key) -> None:
        """Ask the pods to end that were not asked yet."""
        for pod in list(self._pods_of.get(key, {}).values()):
            if not pod.deleting:
                await self.cluster.delete_pod(pod.name, pod.uid)

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """The results that the agent reported, and the log; the results are in the depot already."""
        key = observation.job_id, observation.number
        logs = await self._keep_log(key)
        report = attempt.report
        results: tuple[Result, ...] = ()
        if report is not None:
            whole = observation.seen is Seen.SUCCEEDED
            results = tuple(
                Result(one.id, one.source, one.media_type, one.size, one.sha256)
                for one in report.outputs
                if whole or one.id in report.settled
            )
        tail = b""
        if observation.seen is not Seen.SUCCEEDED:
            tail = await self._tail(key)
        return Collected(results, logs, tail.decode("utf-8", "replace"))

    def _told_by(self, key: Key) -> PodView | None:
        """The newest pod whose command has begun."""
        pods = [pod for pod in self._pods_of.get(key, {}).values() if pod.started is not None]
        return max(pods, key=lambda one: one.created, default=None)

    async def _keep_log(self, key: Key) -> tuple[Result, ...]:
        """Put the command's log into the depot; where it is not to be had, what an earlier call put there counts."""
        target = log_key(key[0], "stdout")
        pod = self._told_by(key)
        if pod is not None:
            try:
                stored = await self.depot.put(target, self._log_of(pod), max_size=2 * LOG_MOST)
                return (Result("stdout", target, "text/plain", stored.size, stored.sha256),)
            except (NotFound, SiteDown) as error:  # the log went with the pod, or can't be read now
                log.info("log is not to be had", job=key[0], attempt=key[1], site=self.site, error=str(error))
        found = await self.depot.head(target)
        return (Result("stdout", target, "text/plain", found.size, ""),) if found is not None else ()

    async def _log_of(self, pod: PodView) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.cluster.log(pod.name, manifest.COMMAND, limit=LOG_MOST):
                yield chunk
        except (Missing, SiteRefuses) as error:
            raise NotFound(f"The log of {pod.name} is not there: {error}") from None

    async def _tail(self, key: Key) -> bytes:
        pod = self._told_by(key)
        if pod is None:
            return b""
        text = b""
        with contextlib.suppress(Missing, SiteRefuses, SiteDown):
            async for chunk in self.cluster.log(pod.name, manifest.COMMAND, limit=LOG_END, tail=TAIL_LINES):
                text += chunk
        return text[-4096:]

    async def forget(self, job_id: str, number: int) -> None:
        """Delete the Job and its pods, whatever state they are in."""
        await self._delete((job_id, number))

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """The end of the log as it is now; asks the cluster, so any replica of the service can."""
        if name != "stdout":
            return None
        selector = f"{manifest.selector(self.instance)}={job_id},{manifest.ATTEMPT}={number}"
        try:
            pods, _ = await self.cluster.all("pods", selector)
            views = [view for view in map(views_module.pod_view, pods) if view is not None and view.started is not None]
            if not views:
                return None
            newest = max(views, key=lambda one: one.created)
            text = b""
            async for chunk in self.cluster.log(newest.name, manifest.COMMAND, limit=LOG_END, tail=5000):
                text += chunk
        except (Missing, SiteRefuses):
            return None
        return text[-LOG_END:]
