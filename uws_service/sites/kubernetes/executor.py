"""One namespace of one cluster as a site.

Jobs are made and deleted there, and what is there is followed.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from uws_service import telemetry
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Launch, Observation, Seen
from uws_service.domain.errors import UsageError, UwsError
from uws_service.domain.job import Result
from uws_service.sites.executor import Collected, Executor, Health, Refused
from uws_service.sites.kubernetes import manifest
from uws_service.sites.kubernetes.cluster import Cluster, Exists, Missing, SiteDown, SiteRefuses
from uws_service.sites.kubernetes.logs import Logs
from uws_service.sites.kubernetes.namespace import Namespace
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.sites.kubernetes.views import Key

log = structlog.get_logger(__name__)

DELETE_PAUSE_SECONDS = 5.0
"""After this time a deletion that shows no effect is repeated."""
HEARTBEAT_SECONDS = 5.0
"""Pause between two questions whether the API server is there; a silent watch says nothing."""


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
        self.margin = site.margin
        self.settings = site
        self.instance = instance
        self.cluster = cluster
        self.namespace = Namespace(site, instance, cluster)
        self.logs = Logs(cluster, depot, instance)
        self._tasks: list[asyncio.Task[None]] = []
        self._down_since: float | None = time.time()
        self._problem = "The site was not looked at yet."

    # -- the site --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow what is in the namespace."""
        await self.cluster.open()
        self._tasks = [asyncio.create_task(loop) for loop in (*self.namespace.loops(), self._beat())]

    async def stop(self) -> None:
        """Follow no more; the Jobs go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.namespace.invalidate()

    async def close(self) -> None:
        """End the connections."""
        await self.cluster.close()

    def health(self) -> Health:
        """Return whether the API server can be used."""
        return Health(self._down_since is None, int((self._down_since or 0) * 1000), self._problem)

    async def _beat(self) -> None:
        """Ask the API server at intervals.

        Whatever it missed meanwhile is listed anew.
        """
        kueue = self.settings.queue is None
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS * 2):
                    if not kueue:
                        await self.cluster.find_kueue()
                        kueue = True
                    await self.cluster.is_there()
                    await self.namespace.wait_complete()
                self._up()
            except UwsError as error:
                self._down(error.message)
            except TimeoutError:
                problems = [mirror.problem for mirror in self.namespace.mirrors if mirror.problem]
                self._down(problems[0] if problems else f"site {self.site}: no answer in {HEARTBEAT_SECONDS * 2:.0f} s")
            except Exception as error:
                log.exception("heartbeat failed", site=self.site)
                self._down(repr(error))
            await asyncio.sleep(HEARTBEAT_SECONDS if self._down_since is None else 1.0)

    def _up(self) -> None:
        if self._down_since is not None:
            log.info("site is reachable", site=self.site)
            self._down_since, self._problem = None, ""
            self.namespace.change.set()

    def _down(self, problem: str) -> None:
        if self._down_since is None:
            log.warning("site can't be reached", site=self.site, error=problem)
            self._down_since = time.time()
            self.namespace.invalidate()
            self.namespace.change.set()
        self._problem = problem

    async def observe(self) -> list[Observation]:
        """Return everything of ours in the namespace.

        Raise `SiteDown` while the copies are not complete.
        """
        self.namespace.change.clear()
        if not self.namespace.is_complete:
            raise SiteDown(self._problem or f"site {self.site}: it was not looked at yet.", sent=False)
        return self.namespace.observe()

    async def wait_change(self, timeout: float) -> None:
        """Wait for a change in the namespace.

        Return after so many seconds in any case.
        """
        await self.namespace.wait_change(timeout)

    # -- attempts --------------------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Make the Job.

        One of this name that carries the attempt's labels is the attempt itself.

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
        self.namespace.created.setdefault((launch.job_id, launch.number), time.monotonic())
        self.namespace.touch((launch.job_id, launch.number))
        telemetry.SITE_CREATE.labels(self.site).observe(time.perf_counter() - began)

    async def _adopt(self, launch: Launch, name: str) -> None:
        try:
            document = await self.cluster.get("jobs", name)
        except Missing:
            raise SiteDown(f"site {self.site}: the Job {name} is just being removed.", sent=False) from None
        expected = manifest.labels_of(launch, self.instance)
        labels = document["metadata"].get("labels") or {}
        names = (manifest.INSTANCE, manifest.JOB, manifest.ATTEMPT)
        if any(labels.get(label) != expected[label] for label in names):
            raise Refused(f"The site {self.site} has another Job with the name {name}.")

    async def kill(self, job_id: str, number: int) -> None:
        """Store the log, then delete the Job.

        Its pod gets SIGTERM, and after the grace SIGKILL.
        """
        key = job_id, number
        if key in self.namespace.jobs and key not in self.namespace.deletions:
            await self.logs.store(key, self.namespace.pods.get(key, {}).values())
            await self._remove_pods(key)  # before the Job: whoever removes them after it gives them more time
        await self._delete(key)

    async def forget(self, job_id: str, number: int) -> None:
        """Delete the Job and its pods."""
        await self._delete((job_id, number))

    async def _delete(self, key: Key) -> None:
        """Delete the Job, at most every few seconds.

        Or what is left of one that is gone.
        """
        namespace = self.namespace
        now = time.monotonic()
        if now - namespace.deletions.get(key, -DELETE_PAUSE_SECONDS) < DELETE_PAUSE_SECONDS:
            return
        namespace.deletions[key] = now
        job = namespace.jobs.get(key)
        if job is None and namespace.created.get(key) is not None:  # made, but not seen yet
            await self.cluster.delete(manifest.job_name(*key))
        elif job is not None and not job.deleting:
            await self.cluster.delete(job.name, job.uid)
        elif job is None:
            await self._remove_pods(key)
        namespace.created.pop(key, None)
        namespace.touch(key)

    async def _remove_pods(self, key: Key) -> None:
        """Ask the pods to end that were not asked yet."""
        for pod in list(self.namespace.pods.get(key, {}).values()):
            if not pod.deleting:
                await self.cluster.delete_pod(pod.name, pod.uid)

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Return what the agent reported, and the log.

        The results are in the depot already.
        """
        key = observation.job_id, observation.number
        pods = list(self.namespace.pods.get(key, {}).values())
        logs = await self.logs.store(key, pods)
        report = attempt.report
        results: tuple[Result, ...] = ()
        succeeded = observation.seen is Seen.SUCCEEDED
        if report is not None:
            results = tuple(
                Result(output.id, output.source, output.media_type, output.size, output.sha256)
                for output in report.outputs
                if succeeded or output.id in report.settled
            )
        return Collected(results, logs, "" if succeeded else await self.logs.tail(pods))

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the end of the log as it is now."""
        return await self.logs.read(job_id, number) if name == "stdout" else None
