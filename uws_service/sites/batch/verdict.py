"""From a batch job to one `Observation`, and from several of one attempt to the one that counts.

Pure. What the command did is in the agent's report (`decisions`); the system tells only what became of the agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from uws_service.domain.attempt import Observation, Reason, Seen
from uws_service.sites.batch.driver import BatchJob, BatchState, Key

LIVE = frozenset({BatchState.STARTING, BatchState.RUNNING, BatchState.SUSPENDED, BatchState.ENDING})
"""States in which something of a job may run."""
OPEN = frozenset(BatchState) - {BatchState.ENDING, BatchState.ENDED}
"""States of jobs that run, or may still run."""
WAITING = frozenset({BatchState.HELD, BatchState.QUEUED, BatchState.STUCK})
"""States in which a job has no place."""


def observe(job: BatchJob, now: int, stuck_patience: int, stuck_since: int | None = None) -> Observation:
    """Return a batch job as its site shows it now.

    Parameters
    ----------
    now
        The present instant, milliseconds.
    stuck_patience
        Seconds that an operator has to help a job that is stuck.
    stuck_since
        Since when (milliseconds) it has been stuck.
    """
    match job.state:
        case BatchState.HELD:
            return _observation(job, Seen.STARTING, waiting="being handed over")
        case BatchState.QUEUED:
            return _observation(job, Seen.STARTING, waiting=job.waiting or "waiting for its turn", place=job.place)
        case BatchState.STARTING:
            return _observation(job, Seen.STARTING, waiting="a machine is being made ready for it")
        case BatchState.RUNNING:
            return _observation(job, Seen.RUNNING, started=job.started)
        case BatchState.SUSPENDED:
            return _observation(job, Seen.SUSPENDED, started=job.started, waiting="its site has stopped it for a while")
        case BatchState.STUCK:
            since = stuck_since if stuck_since is not None else now
            if now - since < stuck_patience * 1000:
                waiting = f"its site has put it on hold: {job.message}"
                return _observation(job, Seen.STARTING, waiting=waiting)
            message = f"Its site has put it on hold: {job.message}"
            return _observation(job, Seen.FAILED, reason=job.reason or Reason.UNSCHEDULABLE, message=message, gone=True)
        case BatchState.ENDING:  # what its agent hands over meanwhile still counts
            if job.started is None:
                return _observation(job, Seen.STARTING, waiting="being ended at its site")
            return _observation(job, Seen.RUNNING, started=job.started)
        case BatchState.ENDED:
            return _ended(job)


def _ended(job: BatchJob) -> Observation:
    """Return the end of a job.

    Well if its agent says so, else lost for the system's reason.
    """
    if job.reason is None and job.exit_code == 0:
        return _observation(job, Seen.SUCCEEDED, started=job.started, ended=job.ended, gone=True)
    reason = job.reason or Reason.AGENT_LOST
    return _observation(
        job, Seen.FAILED, started=job.started, ended=job.ended, reason=reason, message=_words(job), gone=True
    )


def _words(job: BatchJob) -> str:
    if job.message:
        return job.message
    if job.signal is not None:
        return f"Its agent was ended by signal {job.signal}."
    if job.exit_code:
        return f"Its agent ended with code {job.exit_code} before it could report."
    return "Its batch job has ended."


def _observation(
    job: BatchJob,
    seen: Seen,
    *,
    started: int | None = None,
    ended: int | None = None,
    reason: Reason | None = None,
    message: str = "",
    waiting: str = "",
    place: int | None = None,
    gone: bool = False,
) -> Observation:
    return Observation(
        *job.key,
        seen,
        started=started,
        ended=ended,
        reason=reason,
        message=message,
        waiting=waiting,
        place=place,
        handle=job.handle,
        usage=job.usage,
        reports=True,
        gone=gone,
    )


def by_attempt(jobs: Iterable[BatchJob]) -> Mapping[Key, tuple[BatchJob, ...]]:
    """Return the jobs of each attempt, the one that counts first.

    That is one that runs, then one that has ended after a start, then one that waits; among equals the older one.
    """
    groups: dict[Key, list[BatchJob]] = {}
    for job in jobs:
        groups.setdefault(job.key, []).append(job)
    return {key: tuple(sorted(group, key=_weight)) for key, group in groups.items()}


def _weight(job: BatchJob) -> tuple[int, tuple[int, str]]:
    if job.state in LIVE and job.state is not BatchState.ENDING:
        return 0, job.order
    if job.starts and job.state in (BatchState.ENDING, BatchState.ENDED):
        return 1, job.order
    if job.state in (BatchState.QUEUED, BatchState.STUCK):
        return 2, job.order
    return (3 if job.state is BatchState.HELD else 4), job.order


def has_begun(job: BatchJob) -> bool:
    """Return whether a job stands for its attempt.

    It was released, and was not removed before it ran.
    """
    if job.state is BatchState.HELD:
        return False
    return job.starts > 0 or job.state not in (BatchState.ENDING, BatchState.ENDED)


def wins(handle: str, rivals: Sequence[BatchJob], own: BatchJob | None) -> bool:
    """Return whether of several held jobs of one attempt this one may be released: the oldest."""
    order = own.order if own is not None else BatchJob(("", 0), handle, BatchState.HELD).order
    return all(order < rival.order for rival in rivals if rival.state is BatchState.HELD)


def room(jobs: Iterable[BatchJob], slots: int, margin: int) -> int:
    """Return how many jobs may be there at once: those that have a place, and a margin that waits for one."""
    return min(slots, sum(1 for job in jobs if job.state not in WAITING) + margin)
