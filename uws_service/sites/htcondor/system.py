"""An HTCondor pool as a batch system.

A job is submitted with its files still to come: it is held with code 16 then, and can't run. Bringing the files lets
it run. Only the process that created it can do that, so one that was left behind by a crash never runs.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uws_service.sites.batch.driver import BatchJob, BatchSpec, Key
from uws_service.sites.executor import NotNow, Refused
from uws_service.sites.htcondor import ads
from uws_service.sites.htcondor.client import Helper, HelperError
from uws_service.sites.htcondor.settings import HTCondorSite

HISTORY_MAX = 1000
REFUSALS = ("MAX_JOBS_PER_OWNER", "Invalid", "SUBMIT_REQUIREMENT", "not a valid", "Failed to parse")
"""In messages of submissions that would fail again in the same way; of these, the limits on numbers are temporary."""


class Pool:
    """The jobs of one service at a pool.

    Parameters
    ----------
    site
        The site's settings.
    instance
        Name of the service's database: only what carries it is ours.
    work
        Folder of this machine for files on their way.
    """

    streams: tuple[str, ...] = ()
    forgets = False

    def __init__(self, site: HTCondorSite, instance: str, work: Path) -> None:
        self.settings = site
        self.instance = instance
        self.helper = Helper(site.name, site.collector, site.schedd, site.library_configuration(), work.absolute())

    async def open(self) -> None:
        """Do nothing: the library's process is started when it is needed."""

    async def close(self) -> None:
        """End the library's process."""
        await self.helper.close()

    async def health(self) -> None:
        """Ask the collector and the schedd for nothing."""
        await self.helper.call("health")

    async def submit_held(self, spec: BatchSpec) -> str:
        """Create a job that waits for its files."""
        site = self.settings
        description = ads.description(
            spec,
            self.instance,
            accounting_group=site.accounting_group,
            requirements=site.requirements,
            extra=site.submit,
            vacate=site.vacate,
            lease=site.lease,
        )
        files = {name: base64.b64encode(content).decode("ascii") for name, content in spec.files.items()}
        try:
            return str(await self.helper.call("submit", description=description, files=files))
        except HelperError as error:
            if any(word in error.message for word in REFUSALS) and "MAX_JOBS" not in error.message:
                raise Refused(f"The pool does not take the job: {error.message}") from None
            raise

    async def release(self, handle: str, spec: BatchSpec) -> None:
        """Bring the files.

        From then on the pool may run it.
        """
        await self.helper.call("spool", handle=handle)

    async def find(self, key: Key) -> list[BatchJob]:
        """Ask the schedd for the jobs of one attempt."""
        return await self._query(f"UwsAttempt == {ads.quoted(ads.attempt_name(self.instance, key))}")

    async def query(self) -> list[BatchJob]:
        """Ask the schedd for all jobs of this service."""
        return await self._query(f"UwsInstance == {ads.quoted(self.instance)}")

    async def _query(self, constraint: str) -> list[BatchJob]:
        answer = await self.helper.call("query", constraint=constraint, projection=ads.ATTRIBUTES)
        return self._jobs(answer)

    def _jobs(self, answer: Sequence[dict[str, Any]]) -> list[BatchJob]:
        jobs = (ads.batch_job(ad, self.instance) for ad in answer)
        return [job for job in jobs if job is not None]

    async def ended(self, handles: Sequence[str]) -> list[BatchJob]:
        """Ask the schedd's history."""
        conditions = " || ".join(f"({_constraint(handle)})" for handle in handles)
        answer = await self.helper.call(
            "history", constraint=conditions, projection=ads.ATTRIBUTES, match=min(len(handles), HISTORY_MAX)
        )
        return self._jobs(answer)

    async def cancel(self, handle: str) -> None:
        """Remove a job from the queue.

        Its agent gets SIGTERM, and SIGKILL when its time to leave is over.
        """
        await self._remove(handle, f"JobStatus != {ads.COMPLETED} && JobStatus != {ads.REMOVED}")

    async def discard(self, handle: str) -> None:
        """Remove a job that waits for its files.

        The schedd looks at that itself when it removes it.
        """
        await self._remove(handle, f"JobStatus == {ads.HELD} && HoldReasonCode == {ads.SPOOLING}")

    async def _remove(self, handle: str, condition: str) -> None:
        await self.helper.call("remove", constraint=_constraint(handle), condition=condition, reason="by uws-service")

    async def forget(self, handle: str) -> None:
        """Let the queue lose a job that has ended; remove one that has not."""
        await self.cancel(handle)
        await self.helper.call("edit", constraint=_constraint(handle), name="LeaveJobInQueue", value="false")

    async def log(self, handle: str) -> bytes:
        """Bring the agent's log, which the schedd has once the job has ended."""
        return base64.b64decode(str(await self.helper.call("retrieve", handle=handle, name=ads.LOG)))


def _constraint(handle: str) -> str:
    cluster, _, proc = handle.partition(".")
    try:
        return f"ClusterId == {int(cluster)} && ProcId == {int(proc)}"
    except ValueError:
        raise NotNow(f"{handle!r} is no job of HTCondor", sent=False) from None
