"""From the API server's documents of Jobs, pods and Kueue Workloads to the few fields that count. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from uws_service.sites.kubernetes import manifest
from uws_service.sites.kubernetes.settings import STORAGE_VOLUME

Key = tuple[str, int]

HOPELESS_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})
IMAGE = HOPELESS_IMAGE | {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
CANNOT_START = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"}
)
"""Reasons for which a container is not started, as the kubelet words them."""


@dataclass(frozen=True, slots=True)
class JobView:
    """What counts of a Job; instants in milliseconds."""

    key: Key
    name: str
    uid: str
    created: int
    suspended: bool = False
    started: int | None = None
    deleting: bool = False
    complete: bool = False
    failed: str = ""  # the reason of the condition Failed
    message: str = ""
    ended: int | None = None
    queue: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """What counts of a pod."""

    key: Key
    name: str
    uid: str
    created: int
    phase: str
    node: str = ""
    deleting: bool = False
    leaving: int | None = None  # since when it must go
    reason: str = ""
    message: str = ""
    unready_since: int | None = None  # since when its machine has been making its volumes and its network ready
    has_storage: bool = False  # it mounts files of a storage area
    unschedulable: str = ""
    unschedulable_since: int | None = None
    disruption: str = ""
    disruption_message: str = ""
    stuck: str = ""  # why a container is not started
    stuck_message: str = ""
    staged: bool = False  # the agent has brought the inputs
    started: int | None = None
    ended: int | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    exit_message: str = ""
    agent_ended: bool = False
    image: str = ""  # the digest of the command's image
    pulled: str = ""  # the image with its digest, as a registry gives it; empty for one that came another way


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """What counts of a Kueue Workload."""

    job: str  # the Job's name
    queue: str = ""
    waiting: str = ""
    waiting_reason: str = ""  # Kueue's own word for it; older ones than 0.19 say no more than "Pending"
    evicted: str = ""


def _ms(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _key(labels: Mapping[str, str]) -> Key | None:
    job, number = labels.get(manifest.JOB), labels.get(manifest.ATTEMPT, "")
    return (job, int(number)) if job and number.isdigit() else None


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        condition["type"]: condition
        for condition in status.get("conditions") or ()
        if condition.get("status") == "True"
    }


def job_view(document: Mapping[str, Any]) -> JobView | None:
    """Return a Job of ours, or None if its labels make no sense."""
    meta, spec, status = document["metadata"], document.get("spec", {}), document.get("status", {})
    key = _key(meta.get("labels") or {})
    if key is None:
        return None
    conditions = _conditions(status)
    failed = conditions.get("Failed")
    finished = failed or conditions.get("Complete")
    return JobView(
        key=key,
        name=meta["name"],
        uid=meta["uid"],
        created=_ms(meta["creationTimestamp"]) or 0,
        suspended=bool(spec.get("suspend")),
        started=_ms(status.get("startTime")),
        deleting="deletionTimestamp" in meta,
        complete="Complete" in conditions,
        failed=str(failed.get("reason", "Failed")) if failed else "",
        message=str(failed.get("message", "")) if failed else "",
        ended=_ms(finished.get("lastTransitionTime")) if finished else None,
        queue=(meta.get("labels") or {}).get(manifest.QUEUE, ""),
    )


def pod_view(document: Mapping[str, Any]) -> PodView | None:
    """Return a pod of ours, or None if its labels make no sense."""
    meta, status = document["metadata"], document.get("status", {})
    key = _key(meta.get("labels") or {})
    if key is None:
        return None
    command = _container(status.get("containerStatuses"), manifest.COMMAND)
    agent = _container(status.get("initContainerStatuses"), manifest.AGENT)
    conditions = status.get("conditions") or ()
    scheduled: Mapping[str, Any] = next(
        (condition for condition in conditions if condition["type"] == "PodScheduled"), {}
    )
    disruption = _conditions(status).get("DisruptionTarget", {})
    ended = (command.get("state") or {}).get("terminated") or {}
    running = (command.get("state") or {}).get("running") or {}
    agent_ended = (agent.get("state") or {}).get("terminated")
    stuck = _stuck(agent) or _stuck(command) or ("", "")
    refused = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    began = _ms(ended.get("startedAt") or running.get("startedAt"))
    return PodView(
        key=key,
        name=meta["name"],
        uid=meta["uid"],
        created=_ms(meta["creationTimestamp"]) or 0,
        phase=status.get("phase", "Pending"),
        node=document.get("spec", {}).get("nodeName", ""),
        deleting="deletionTimestamp" in meta,
        leaving=_leaving(meta, disruption),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unready_since=_unready_since(conditions, scheduled),
        has_storage=any(
            str(volume.get("name", "")).startswith(STORAGE_VOLUME)
            for volume in document.get("spec", {}).get("volumes") or ()
        ),
        unschedulable=scheduled.get("message", "") if refused else "",
        unschedulable_since=_ms(scheduled.get("lastTransitionTime")) if refused else None,
        disruption=disruption.get("reason", ""),
        disruption_message=disruption.get("message", ""),
        stuck=stuck[0],
        stuck_message=stuck[1],
        staged=bool(agent.get("started")),
        started=began or None,  # a command that could not be started has the year 1970 here
        ended=_ms(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason", ""),
        exit_message=ended.get("message", ""),
        agent_ended=agent_ended is not None and status.get("phase") in ("Succeeded", "Failed"),
        image=_digest(command.get("imageID", "")),
        pulled=_pulled(command.get("imageID", "")),
    )


def _unready_since(conditions: Sequence[Mapping[str, Any]], scheduled: Mapping[str, Any]) -> int | None:
    """Return since when a pod has had a machine and no sandbox; None if it has one, or the cluster does not say."""
    ready: Mapping[str, Any] = next((entry for entry in conditions if entry["type"] == "PodReadyToStartContainers"), {})
    is_placed = scheduled.get("status") == "True"
    return _ms(scheduled.get("lastTransitionTime")) if is_placed and ready.get("status") == "False" else None


def _pulled(image_id: str) -> str:
    """Return ``registry/repository@sha256:…``, which any site can pull.

    A bare id names what one node has.
    """
    repository, at, _ = image_id.rpartition("://")[2].rpartition("@")
    return f"{repository}@{_digest(image_id)}" if at and repository and _digest(image_id) else ""


def _digest(image_id: str) -> str:
    """Return the digest of ``registry/repository@sha256:…``, or of a bare one; empty if it has none."""
    digest = image_id.rpartition("@")[2]
    return digest if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else ""


def _leaving(meta: Mapping[str, Any], disruption: Mapping[str, Any]) -> int | None:
    """Return the instant from which a pod had to go; 0 if that is not certain."""
    instants = []
    if "deletionTimestamp" in meta:  # the instant at which its time to end is over
        grace = meta.get("deletionGracePeriodSeconds")
        instants.append((_ms(meta["deletionTimestamp"]) or 0) - grace * 1000 if grace is not None else 0)
    if disruption:  # the machine itself may write this after the end
        is_certain = disruption.get("reason") != "TerminationByKubelet"
        instants.append((_ms(disruption.get("lastTransitionTime")) or 0) if is_certain else 0)
    return min(instants, default=None)


def workload_view(document: Mapping[str, Any]) -> WorkloadView | None:
    """Return the Workload of one of our Jobs, or None if it is another's."""
    owners = document["metadata"].get("ownerReferences") or ()
    job = next((owner["name"] for owner in owners if owner.get("kind") == "Job"), None)
    if job is None:
        return None
    conditions = _conditions(document.get("status", {}))
    by_type = {condition["type"]: condition for condition in document.get("status", {}).get("conditions") or ()}
    held = by_type.get("QuotaReserved", {})
    if "QuotaReserved" in conditions:  # it has its place, and waits for what the site's checks want
        held = by_type.get("Admitted", {}) if "Admitted" not in conditions else {}
    return WorkloadView(
        job=job,
        queue=document.get("spec", {}).get("queueName", ""),
        waiting=str(held.get("message", "")),
        waiting_reason=str(held.get("reason", "")),
        evicted=str(conditions["Evicted"].get("message", "")) if "Evicted" in conditions else "",
    )


def _container(statuses: Sequence[Mapping[str, Any]] | None, name: str) -> Mapping[str, Any]:
    return next((status for status in statuses or () if status.get("name") == name), {})


def _stuck(container: Mapping[str, Any]) -> tuple[str, str] | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    return (reason, waiting.get("message", "")) if reason in IMAGE | CANNOT_START else None
