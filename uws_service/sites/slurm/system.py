"""A Slurm cluster as a batch system.

slurmctld is asked for the states of all jobs, which costs it next to nothing, and for more of those alone that are new
or have changed. A job is believed to be ours by its comment and the time of its submission, never by its id: a
slurmctld that dies within seconds of a submission forgets it, and gives its id to the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from uws_service.domain.attempt import Reason
from uws_service.domain.errors import UwsError
from uws_service.sites.batch.driver import BatchJob, BatchSpec, BatchState, Key
from uws_service.sites.executor import NotNow
from uws_service.sites.slurm.client import SlurmClient
from uws_service.sites.slurm.jobs import ENDED, Document, accounted_job, batch_job, number, parts_of, usage_of
from uws_service.sites.slurm.settings import SlurmSite
from uws_service.sites.slurm.submission import batch_script, job_description

log = structlog.get_logger(__name__)

LIST_SECONDS = 300.0
"""All jobs are read anew at least so often, whatever their states say."""
MANY = 40
"""With so many new or changed jobs one question for all of them is cheaper."""
REVISITS = 10
"""So many waiting jobs are read again at each look: why they wait changes without their state."""


@dataclass(slots=True)
class Seen:
    """A job of the cluster as it was last read."""

    states: frozenset[str]
    job: BatchJob | None
    """None: it is somebody else's."""
    read: float


class SlurmSystem:
    """One cluster, as one service uses it.

    Parameters
    ----------
    client
        The way to it.
    instance
        The name of the service's database; every job carries it in its comment.
    """

    streams: tuple[str, ...] = ()
    forgets = True

    def __init__(self, site: SlurmSite, instance: str, client: SlurmClient) -> None:
        self.site, self.instance, self.client = site, instance, client
        self._seen: dict[int, Seen] = {}
        self._listed = -LIST_SECONDS
        self._forgotten: set[str] = set()
        self._looking = asyncio.Lock()
        self._last_look = 0.0

    async def open(self) -> None:
        """Do nothing: connections are made when they are needed."""

    async def close(self) -> None:
        """End the connections; the jobs go on."""
        await self.client.close()

    async def health(self) -> None:
        """Ask whether slurmctld answers."""
        await self.client.ping()

    # -- looking ---------------------------------------------------------------------------------------------------

    async def query(self) -> list[BatchJob]:
        """Return all jobs of this service that slurmctld has.

        Those that were forgotten are left out once they have ended, and those that were cancelled before their release:
        these are no job of anybody's. One that is back as it was before, since slurmctld was killed, is shown.
        """
        await self._look()
        return [job for job in self._jobs() if job.state is not BatchState.ENDED or not self._is_over(job)]

    def _is_over(self, job: BatchJob) -> bool:
        return job.handle in self._forgotten or (job.starts == 0 and job.reason is Reason.DELETED)

    async def find(self, key: Key) -> list[BatchJob]:
        """Return all jobs of an attempt, as they are after this call."""
        await self._look()
        return [job for job in self._jobs() if job.key == key]

    def _jobs(self) -> list[BatchJob]:
        return [seen.job for seen in self._seen.values() if seen.job is not None]

    async def _look(self) -> None:
        """Look at the cluster, unless somebody else has begun to since this was asked for."""
        asked = time.monotonic()
        async with self._looking:
            if self._last_look >= asked:
                return
            began = time.monotonic()
            try:
                await self._read(began)
            except UwsError:  # slurmctld may have been started anew, and have given ids to others
                self._listed = -LIST_SECONDS
                raise
            self._last_look = began

    async def _read(self, now: float) -> None:
        if now - self._listed >= LIST_SECONDS:
            await self._list(now)
            return
        states = await self.client.states()
        for job_id in self._seen.keys() - states.keys():
            del self._seen[job_id]
        due = [job_id for job_id, state in states.items() if self._is_due(job_id, state)]
        if len(due) > MANY:
            await self._list(now)
            return
        waiting = sorted(
            (seen.read, job_id)
            for job_id, seen in self._seen.items()
            if seen.job is not None and "PENDING" in seen.states and job_id not in due
        )
        due += [job_id for _, job_id in waiting[:REVISITS]]
        await asyncio.gather(*(self._read_job(job_id, states[job_id]) for job_id in due))
        self._drop_forgotten()

    def _is_due(self, job_id: int, states: frozenset[str]) -> bool:
        """Return whether a job is to be read.

        It is new, has changed, or its id is another job's now.
        """
        seen = self._seen.get(job_id)
        if seen is None:
            return True
        if states == seen.states:
            return False
        return seen.job is not None or "PENDING" in states or bool(seen.states & ENDED)

    async def _list(self, now: float) -> None:
        documents = await self.client.jobs()
        fresh = {}
        for document in documents:
            states = frozenset(document.get("job_state", ()))
            fresh[number(document.get("job_id"))] = Seen(states, batch_job(document, self.instance), now)
        self._seen, self._listed = fresh, now
        self._drop_forgotten()

    def _drop_forgotten(self) -> None:
        self._forgotten &= {job.handle for job in self._jobs()}

    async def _read_job(self, job_id: int, states: frozenset[str]) -> BatchJob | None:
        """Read one job.

        Its states as the list has them tell later whether it has changed.
        """
        document = await self.client.job(job_id)
        if document is None:
            self._seen.pop(job_id, None)
            return None
        job = batch_job(document, self.instance)
        if job is not None and job.state is BatchState.ENDED and job.reason is not None:
            job = replace(job, usage=usage_of(await self._record(job.handle) or {}))
        self._seen[job_id] = Seen(states, job, time.monotonic())
        return job

    async def _record(self, handle: str) -> Document | None:
        """Return the accounting's record of a job, if it has one by now."""
        job_id, submitted = parts_of(handle)
        try:
            records = await self.client.history(job_id)
        except UwsError as error:
            log.info("the accounting can't be asked", site=self.site.name, error=error.message)
            return None
        matches = [record for record in records if number(record.get("time", {}).get("submission")) == submitted]
        return matches[-1] if matches else None

    async def ended(self, handles: Sequence[str]) -> list[BatchJob]:
        """Return what the accounting has of jobs that slurmctld no longer shows."""
        records = await asyncio.gather(*(self._record(handle) for handle in handles))
        jobs = [accounted_job(record, self.instance) for record in records if record is not None]
        return [job for job in jobs if job is not None]

    # -- changing --------------------------------------------------------------------------------------------------

    async def submit_held(self, spec: BatchSpec) -> str:
        """Create a job that can't run, and return its handle."""
        description = job_description(spec, self.site, self.instance)
        job_id = await self.client.submit(description, batch_script(spec))
        job = await self._read_job(job_id, frozenset({"PENDING"}))
        if job is None or job.key != spec.key:  # slurmctld died in between
            raise NotNow(f"site {self.site.name}: the job {job_id} was forgotten at once")
        return job.handle

    async def _verified(self, handle: str) -> BatchJob | None:
        """Return a job as it is now.

        None if slurmctld does not have it, whoever has its id now.
        """
        job_id, _ = parts_of(handle)
        job = await self._read_job(job_id, self._states(job_id))
        return job if job is not None and job.handle == handle else None

    def _states(self, job_id: int) -> frozenset[str]:
        seen = self._seen.get(job_id)
        return seen.states if seen is not None else frozenset()

    async def release(self, handle: str, spec: BatchSpec) -> None:
        """Let a created job run."""
        job = await self._verified(handle)
        if job is None or job.key != spec.key or job.state is BatchState.ENDED:
            raise NotNow(f"site {self.site.name}: the job {handle} is gone", retry_after=1)
        if job.state is BatchState.HELD:
            await self.client.release(parts_of(handle)[0])
            await self._verified(handle)

    async def cancel(self, handle: str) -> None:
        """Ask a job to end.

        SIGTERM, and SIGKILL after the cluster's ``KillWait``.
        """
        job = await self._verified(handle)
        if job is not None and job.state not in (BatchState.ENDED, BatchState.ENDING):
            await self.client.cancel(parts_of(handle)[0])
            await self._verified(handle)
        elif job is not None and job.state is BatchState.ENDED and await self._is_waiting(handle):
            await self.client.cancel(parts_of(handle)[0])

    async def _is_waiting(self, handle: str) -> bool:
        """Return whether a job that counts as ended would be run once more by Slurm."""
        document = await self.client.job(parts_of(handle)[0])
        return document is not None and "PENDING" in document.get("job_state", ())

    async def discard(self, handle: str) -> None:
        """Remove a job that is held now.

        Slurmctld's answer is never old, so one that was released is seen to be.
        """
        job = await self._verified(handle)
        if job is not None and job.state is BatchState.HELD:
            await self.client.cancel(parts_of(handle)[0])
            job = await self._verified(handle)
        if job is None or job.state is BatchState.ENDED:
            self._forgotten.add(handle)

    async def forget(self, handle: str) -> None:
        """Cancel what still runs.

        Slurmctld itself drops an ended job after its ``MinJobAge``.
        """
        await self.cancel(handle)
        job = await self._verified(handle)
        if job is None or job.state is BatchState.ENDED:
            self._forgotten.add(handle)

    async def log(self, handle: str) -> bytes:
        """Return nothing: what an agent says is on its node."""
        return b""

    def counts(self) -> Mapping[str, int]:
        """Return how many jobs were read, ours and others', for diagnosis."""
        ours = len(self._jobs())
        return {"ours": ours, "others": len(self._seen) - ours}
