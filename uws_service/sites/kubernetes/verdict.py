"""From the views of an attempt to one `Observation`.

Pure: Job, pods and Kueue Workload, as they are now.

Pods tell of the command's start and end a second or more before the Job's own conditions do; those are the safety net
for what the pods no longer can tell. ``FailureTarget`` and ``SuccessCriteriaMet`` only announce the conditions
``Failed`` and ``Complete``, and are not acted upon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uws_service.agent.error_file import parse_error
from uws_service.domain.attempt import CommandError, Observation, Reason, Seen
from uws_service.sites.kubernetes.views import CANNOT_START, HOPELESS_IMAGE, IMAGE, JobView, Key, PodView, WorkloadView

NOT_RUN, LAUNCHER_SAYS = (126, 127), "uws-launch: "
"""How ``agent/launch.c`` tells that there was nothing to run."""
STOPPED = "uws-launch: stopped from outside"
"""How it tells that its container was asked to end."""
CHILD_KILLED = "uws-launch: out of memory"
"""How it tells that the kernel killed a process of its container for want of memory."""
ERROR_FILE = "uws-launch: error.json\n"
"""What comes before the content of the command's ``error.json``."""
BY_KUBELET = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "DeadlineExceeded"})
"""A pod's reasons if its machine has ended it."""
NO_SUBPATH = "subPath"
"""Of the kubelet's words for a file that is not there in a volume that can't be written to."""
INCOMPLETE = (
    "A process of the command was killed, as it used more memory than the application may have; the command itself "
    "ended well, but its results may lack something."
)
DELETED = "Somebody removed the job at its site."


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pod may be stuck, in seconds.

    0 for all but the first: for ever.
    """

    image: int = 300
    schedule: int = 0
    volumes: int = 600


def observe(
    key: Key,
    job: JobView | None,
    pods: Sequence[PodView],
    workload: WorkloadView | None,
    now: int,
    patience: Patience,
    first_stuck: int | None = None,
    place: int | None = None,
) -> Observation:
    """Return one attempt as its site shows it now.

    Parameters
    ----------
    job
        Its Job; None if that is gone and only pods are left.
    pods
        All pods of the Job that are still known; there is more than one only after a suspension.
    first_stuck
        Since when (milliseconds) the newest pod has had trouble with its image.
    place
        How many are before it in the cluster's queue, where that tells.
    """
    pod = max(pods, key=lambda pod_view: (pod_view.created, pod_view.name), default=None)
    has_ended = not any(
        pod_view.phase in ("Pending", "Running", "Unknown") and not pod_view.agent_ended for pod_view in pods
    )
    by_itself = [pod_view for pod_view in pods if pod_view.ended is not None and not _was_taken_away(job, pod_view)]
    if by_itself:  # it counts even if another pod was made since: the command is never run again after its own end
        return _ended(key, max(by_itself, key=lambda pod_view: pod_view.created), has_ended)
    if job is not None and job.failed:
        return _job_failed(key, job, pod, has_ended)
    was_stopped = pod is not None and pod.ended is not None
    if job is not None and job.complete and not was_stopped:
        return Observation(
            *key, Seen.SUCCEEDED, started=job.started, ended=job.ended, exit_code=0, reports=True, gone=has_ended
        )
    if job is not None and job.suspended:
        return _suspended(key, job, pods, workload, place)
    over = pod is not None and (pod.phase == "Failed" or (was_stopped and pod.phase == "Succeeded"))
    if pod is not None and over and (job is None or job.complete or pod.disruption or not pod.deleting):
        return _pod_failed(key, pod, has_ended)
    if job is None:  # the Job was deleted; its pods are about to follow
        if has_ended:
            return Observation(*key, Seen.FAILED, reason=Reason.DELETED, message=DELETED, reports=True, gone=True)
        return Observation(
            *key, Seen.RUNNING if pod and pod.started else Seen.STARTING, started=pod.started if pod else None
        )
    if pod is None:
        return Observation(*key, Seen.STARTING, waiting="the site is making a pod for it")
    if pod.started is not None:  # a pod that is being deleted runs until the Job says how that ended
        return Observation(*key, Seen.RUNNING, started=pod.started, reports=True, image=pod.image, pulled=pod.pulled)
    return _starting(key, pod, now, patience, first_stuck)


def _was_taken_away(job: JobView | None, pod: PodView) -> bool:
    """Return whether a command was ended from outside.

    Then its exit code means nothing.

    A command may answer the signal that asks it to go with 0. What ended well before its pod had to go has ended by
    itself, though its agent may still be handing results over.
    """
    if pod.reason in BY_KUBELET or pod.exit_message.startswith(STOPPED):
        return True
    if pod.exit_code == 0:
        return pod.leaving is not None and (pod.ended or 0) >= pod.leaving
    outside = pod.deleting or bool(pod.disruption)
    return outside or job is None or job.suspended or job.deleting


def _ended(key: Key, pod: PodView, has_ended: bool) -> Observation:
    """Return the end of a command by itself."""
    common: dict[str, Any] = {
        "started": pod.started,
        "ended": pod.ended,
        "exit_code": pod.exit_code,
        "reports": True,
        "gone": has_ended,
        "image": pod.image,
        "pulled": pod.pulled,
    }
    out_of_memory = pod.exit_reason == "OOMKilled" or pod.exit_message.startswith(CHILD_KILLED)
    if pod.exit_code == 0:
        return Observation(*key, Seen.SUCCEEDED, warning=INCOMPLETE if out_of_memory else "", **common)
    if out_of_memory:
        message = "The command used more memory than the application may have."
        return Observation(*key, Seen.FAILED, reason=Reason.OUT_OF_MEMORY, message=message, **common)
    error = _command_error(pod.exit_message)
    not_run = pod.exit_code in NOT_RUN and error is None and pod.exit_message.startswith(LAUNCHER_SAYS)
    if pod.exit_reason in CANNOT_START or not_run:
        cause = pod.exit_message.removeprefix(LAUNCHER_SAYS).strip() if not_run else ""
        message = f"The command could not be started: {cause}" if cause else "The command could not be started."
        return Observation(*key, Seen.FAILED, reason=Reason.COMMAND, message=message, **common)
    return Observation(
        *key,
        Seen.FAILED,
        reason=Reason.EXIT_CODE,
        message=f"The command ended with exit code {pod.exit_code}",
        error=error,
        **common,
    )


def _command_error(exit_message: str) -> CommandError | None:
    """Return what the launcher passes on of the command's error."""
    if not exit_message.startswith(ERROR_FILE):
        return None
    fields = parse_error(exit_message.removeprefix(ERROR_FILE))
    return CommandError(**fields) if fields is not None else None


def _job_failed(key: Key, job: JobView, pod: PodView | None, has_ended: bool) -> Observation:
    """Return the end of a Job that was given up.

    No pod tells of the command's own end.
    """
    common: dict[str, Any] = {
        "started": pod.started if pod else None,
        "ended": (pod.ended if pod else None) or job.ended,
        "reports": True,
        "gone": has_ended,
    }
    if job.failed == "DeadlineExceeded":
        return Observation(*key, Seen.FAILED, reason=Reason.DEADLINE, **common)
    if pod is not None and (pod.phase == "Failed" or pod.disruption):
        return _pod_failed(key, pod, has_ended)
    message = "The job's pod was removed at its site."
    return Observation(*key, Seen.FAILED, reason=Reason.DELETED, message=message, **common)


def _pod_failed(key: Key, pod: PodView, has_ended: bool) -> Observation:
    """Return the end of a pod from outside."""
    common: dict[str, Any] = {
        "started": pod.started,
        "ended": pod.ended,
        "exit_code": pod.exit_code,
        "reports": True,
        "gone": has_ended,
    }
    if pod.reason == "Evicted" and ("emptyDir" in pod.message or "EmptyDir" in pod.message or "limit" in pod.message):
        return Observation(*key, Seen.FAILED, reason=Reason.OUTPUT_TOO_LARGE, message=_too_large(pod.message), **common)
    if pod.reason == "DeadlineExceeded":
        return Observation(*key, Seen.FAILED, reason=Reason.DEADLINE, **common)
    if pod.reason == "UnexpectedAdmissionError" or pod.reason.startswith("OutOf"):
        message = f"The machine did not take it after all: {pod.message}"
        return Observation(*key, Seen.FAILED, reason=Reason.EVICTED, message=message, **common)
    if pod.disruption in ("DeletionByTaintManager", "DeletionByPodGC") or pod.reason in ("NodeLost", "NodeShutdown"):
        message = "The machine that it ran on is gone."
        return Observation(*key, Seen.FAILED, reason=Reason.NODE_LOST, message=message, **common)
    if pod.reason in ("Evicted", "Terminated", "Preempting") or pod.disruption:
        cause = pod.message or pod.disruption_message or pod.disruption
        message = f"The site put it out: {cause}"
        return Observation(*key, Seen.FAILED, reason=Reason.EVICTED, message=message, **common)
    if pod.deleting:
        message = "The job's pod was removed at its site."
        return Observation(*key, Seen.FAILED, reason=Reason.DELETED, message=message, **common)
    if pod.exit_message.startswith(STOPPED):
        message = "The site stopped it."
        return Observation(*key, Seen.FAILED, reason=Reason.EVICTED, message=message, **common)
    if pod.exit_reason == "OOMKilled":
        return _ended(key, pod, has_ended)
    message = f"The pod failed: {pod.message or pod.reason or pod.exit_reason or 'no reason given'}"
    return Observation(*key, Seen.FAILED, reason=Reason.AGENT_LOST, message=message, **common)


def _too_large(message: str) -> str:
    """Return which folder outgrew its limit.

    It does without the words of Kubernetes.
    """
    volume = re.search(r'volume "(\w+)" exceeds the limit "([^"]+)"', message)
    if volume is not None:
        folders = {"output": "The results", "scratch": "The working files", "progress": "The progress file"}
        return f"{folders.get(volume[1], 'The files')} are larger than the {volume[2]} that are allowed."
    return "The files that it wrote are larger than is allowed."


def _suspended(
    key: Key, job: JobView, pods: Sequence[PodView], workload: WorkloadView | None, place: int | None
) -> Observation:
    """Return a Job that is held back, by Kueue or by hand.

    Before the start it waits, after it it is suspended.
    """
    waiting = waiting_words(workload, job.queue)
    if any(pod_view.started is not None for pod_view in pods) or (workload is not None and workload.evicted):
        text = f"put back by the site: {workload.evicted}" if workload and workload.evicted else waiting
        return Observation(*key, Seen.SUSPENDED, waiting=text, place=place)
    return Observation(*key, Seen.STARTING, waiting=waiting, place=place)


def _starting(key: Key, pod: PodView, now: int, patience: Patience, first_stuck: int | None) -> Observation:
    """Return a pod whose command has not begun."""
    if pod.stuck in CANNOT_START and NO_SUBPATH in pod.stuck_message:
        message = f"Its data can't be mounted at the site: {pod.stuck_message}"
        return Observation(*key, Seen.FAILED, reason=Reason.STAGE_IN, message=message)
    if pod.stuck in CANNOT_START:
        message = f"The command could not be started: {pod.stuck_message or pod.stuck}"
        return Observation(*key, Seen.FAILED, reason=Reason.COMMAND, message=message)
    if pod.stuck in IMAGE:
        since = first_stuck if first_stuck is not None else now
        if pod.stuck in HOPELESS_IMAGE or now - since >= patience.image * 1000:
            message = f"The container image can't be had: {pod.stuck_message or pod.stuck}"
            return Observation(*key, Seen.FAILED, reason=Reason.IMAGE, message=message)
        return Observation(*key, Seen.STARTING, waiting=f"the container image can't be had yet: {pod.stuck_message}")
    if pod.unschedulable:
        since = pod.unschedulable_since or pod.created
        words = no_node_words(pod.unschedulable)
        if patience.schedule and now - since >= patience.schedule * 1000:
            message = f"No machine of the site had room for it in {patience.schedule} s: {words}"
            return Observation(*key, Seen.FAILED, reason=Reason.UNSCHEDULABLE, message=message)
        return Observation(*key, Seen.STARTING, waiting=f"waiting for a machine with room: {words}")
    if not pod.node:
        return Observation(*key, Seen.STARTING, waiting="waiting for a machine")
    if pod.unready_since is not None and patience.volumes and now - pod.unready_since >= patience.volumes * 1000:
        what = "the storage that its data are read from" if pod.has_storage else "its volumes and its network"
        message = f"The machine did not get {what} ready in {patience.volumes} s."
        reason = Reason.STAGE_IN if pod.has_storage else Reason.UNSCHEDULABLE
        return Observation(*key, Seen.FAILED, reason=reason, message=message)
    waiting = "starting" if pod.staged else "its image and its inputs are being brought"
    return Observation(*key, Seen.STARTING, waiting=waiting)


KUEUE_REASONS: Mapping[str, str] = {
    "ExceedsMaxQuota": "it asks for more than the site ever has",
    "NoMatchingFlavor": "the site has no machine of the kind that it needs",
    "TopologyPlacementFailed": "waiting for machines that are near each other",
    "WaitingForPreemptedWorkloads": "room is being made for it",
    "Misconfigured": "the queue is not set up as it should be, which the site's operators can mend",
    "Inadmissible": "the queue can't take it, which the site's operators can mend",
    "Suspended": "the site has stopped its queue",
    "PendingEvaluation": "the site has not looked at it yet",
    "WaitingForPodsReady": "the site starts one job after another",
    "AdmissionGated": "held until what it needs is there",
    "OnHold": "held until what it needs is there",
    "UnsatisfiedAdmissionChecks": "it has its place; machines are being made ready for it",
    "PendingDelayedTopologyRequests": "it has its place; machines are being made ready for it",
}
"""Words for the typed reasons of Kueue 0.19; the text of ``WaitingForQuota`` says what is lacking."""
WITH_DETAILS = ("ExceedsMaxQuota", "NoMatchingFlavor", "Misconfigured", "Inadmissible")
"""Reasons of which the owner should read what Kueue says itself."""


def waiting_words(workload: WorkloadView | None, queue: str) -> str:
    """Return why Kueue holds a job, in plain words."""
    place_words = f" in the queue {queue}" if queue else ""
    if workload is None:
        return f"the site has not looked at it yet{place_words}"
    text = workload.waiting
    if words := KUEUE_REASONS.get(workload.waiting_reason):
        detail = f": {text}" if text and workload.waiting_reason in WITH_DETAILS else ""
        return f"{words}{place_words}{detail}"
    shortage = re.search(r"insufficient (?:unused )?quota for (\S+?) in flavor ([^,\s]+), (\S+) more needed", text)
    if shortage is not None:
        return f"waiting for {_amount(shortage[1], shortage[3])}{place_words}"
    if "exceeds" in text or "insufficient quota for" in text:
        return f"it asks for more than the site ever has{place_words}: {text}"
    if "doesn't exist" in text or "inactive" in text or "not found" in text.lower():
        return f"the site's queue {queue or workload.queue} does not take jobs at the moment: {text}"
    if not text:
        return f"waiting for its turn{place_words}"
    return f"waiting{place_words}: {text}"


def _amount(resource: str, quantity: str) -> str:
    """Return ``1`` of ``cpu`` as "1 more CPU"."""
    if resource == "cpu":
        cores = f"{int(quantity[:-1]) / 1000:g}" if quantity.endswith("m") and quantity[:-1].isdigit() else quantity
        return f"{cores} more CPU{'' if cores == '1' else 's'}"
    return f"{quantity} more of {resource}"


def no_node_words(message: str) -> str:
    """Return the scheduler's message without what only it understands.

    ``no new claims …``, ``preemption: …``.
    """
    words = message.partition(" preemption:")[0].partition(" no new claims")[0]
    return words.strip().rstrip(".,") or "none fits"
