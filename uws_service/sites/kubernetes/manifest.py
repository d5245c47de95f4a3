"""From an attempt to its Kubernetes Job.

A plain dictionary, made without I/O.

The pod holds two containers. ``agent`` is a native sidecar: it brings the inputs, says so through its startup probe
(only then does Kubernetes start the command), and after the command's end hands over the results. ``job`` is the
user's command, with nothing but its folders and parameters, under a small program that measures it
(``agent/launch.c``). Both run restricted (Kubernetes' Pod Security Standard "restricted"), on a read-only root, and
only the agent has a token: one for this service, which the cluster's own API does not take.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from uws_service.agent import folder
from uws_service.agent.environment import Folders, command_environment
from uws_service.domain.attempt import Launch
from uws_service.domain.errors import UsageError
from uws_service.sites.kubernetes.settings import KubernetesSite, volume_name

JOB, ATTEMPT, APPLICATION, OWNER = (f"uws-service/{name}" for name in ("job", "attempt", "application", "owner"))
INSTANCE = "uws-service/instance"
QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
COMMAND, AGENT = "job", "agent"
"""Names of the two containers."""
ROOT = "/uws"
INPUT, OUTPUT, SCRATCH, PROGRESS = (f"{ROOT}/{name}" for name in ("input", "output", "scratch", "progress"))
DATA = f"{ROOT}/{folder.DATA}"
LAUNCHER, USAGE = f"{ROOT}/bin/{folder.LAUNCHER}", f"{PROGRESS}/{folder.USAGE}"
FOLDERS = Folders(INPUT, OUTPUT, SCRATCH, f"{PROGRESS}/progress")
TOKEN_FOLDER = "/var/run/uws-service"
AGENT_CPU = 0.01
AGENT_REQUEST_BYTES, AGENT_LIMIT_BYTES = 32 * 2**20, 128 * 2**20
SLACK_SECONDS = 3600
"""Seconds beyond executionDuration after which Kubernetes itself ends a Job: it counts image pull and stage-in too."""
DATA_BYTES_PER_SECOND = 10**7
"""Data sets count as fetched at least so fast when that time is reckoned."""
PREEMPTIONS = 1000
"""How often Kueue may put a job back before Kubernetes takes that for a failure."""
LOG_BYTES = 64 * 2**20
ENVIRONMENT_MAX_BYTES = 256 * 1024
"""Of parameter values that go into the environment; an object of the cluster must stay below 1.5 MB."""

_NAME = re.compile(r"uws-([0-9a-f]{32})-([1-9][0-9]{0,3})")
_LABEL = re.compile(r"[^A-Za-z0-9._-]")


def job_name(job_id: str, number: int) -> str:
    """Return the Job's name.

    It makes the creation idempotent.
    """
    return f"uws-{job_id}-{number}"


def attempt_of_pod(pod: str) -> tuple[str, int] | None:
    """Return the attempt of a pod by its name.

    That is job id and number; None for other pods.
    """
    match = re.fullmatch(rf"{_NAME.pattern}-[a-z0-9]+", pod)
    return (match[1], int(match[2])) if match else None


def labels_of(launch: Launch, instance: str) -> dict[str, str]:
    """Return what the Job and its pod are found by.

    The owner's name can hold anything, so a digest stands for it.
    """
    return {
        "app.kubernetes.io/managed-by": "uws-service",
        "app.kubernetes.io/name": _label(launch.application),
        INSTANCE: instance,
        JOB: launch.job_id,
        ATTEMPT: str(launch.number),
        APPLICATION: _label(launch.application),
        OWNER: hashlib.sha256(launch.owner.encode()).hexdigest()[:16] if launch.owner else "anonymous",
    }


def selector(instance: str) -> str:
    """Return the label selector of everything that one service made."""
    return f"{INSTANCE}={instance},{JOB}"


def job_manifest(launch: Launch, site: KubernetesSite, instance: str) -> dict[str, Any]:
    """Return the Job of an attempt at a site.

    Raises
    ------
    UsageError
        The application's image is not among those that the site allows.
    """
    labels = labels_of(launch, instance)
    annotations = {"uws-service/owner": launch.owner or "anonymous"}
    patience = SLACK_SECONDS + _data_bytes(launch) // DATA_BYTES_PER_SECOND
    deadline = {"activeDeadlineSeconds": launch.duration + patience} if launch.duration else {}
    priority = _priority(launch.application, launch.group, site)
    job_labels = dict(labels)
    if site.queue is not None:
        job_labels[QUEUE] = site.queue_of(launch.group) or site.queue
        if priority:
            job_labels[PRIORITY] = priority
    pod = _pod(launch, site)
    if priority and site.queue is None:
        pod["priorityClassName"] = priority
    manifest: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(launch.job_id, launch.number),
            "namespace": site.namespace,
            "labels": job_labels,
            "annotations": annotations,
        },
        "spec": {
            # Another try is another attempt, and that the service decides. But what Kueue puts back counts here too.
            "backoffLimit": 0 if site.queue is None else PREEMPTIONS,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",  # never two pods at once
            "ttlSecondsAfterFinished": site.ttl,
            "suspend": site.queue is not None,
            **deadline,
            "template": {"metadata": {"labels": dict(labels), "annotations": dict(annotations)}, "spec": pod},
        },
    }
    patched: dict[str, Any] = merge_patch(manifest, site.patch)
    # A site may change everything but what the Job is found by.
    patched["metadata"] |= {"name": manifest["metadata"]["name"], "namespace": site.namespace}
    for part in (patched["metadata"], patched["spec"]["template"].setdefault("metadata", {})):
        part["labels"] = {**(part.get("labels") or {}), **labels}
    return patched


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386.

    Mappings are merged, null removes, anything else replaces.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _label(text: str) -> str:
    return _LABEL.sub("_", text)[:63].strip("._-") or "none"


def _priority(application: str, group: str, site: KubernetesSite) -> str | None:
    for key in (f"application:{application}", f"group:{group}", "*"):
        if key in site.priority_classes:
            return site.priority_classes[key]
    return None


def _literal(text: str) -> str:
    """Escape what Kubernetes would replace: ``$(NAME)``.

    A user's text must stay as it is.
    """
    return text.replace("$", "$$")


def _image(launch: Launch, site: KubernetesSite) -> str:
    image = launch.image or site.image or site.agent_image
    if launch.image and not site.allows_image(image):
        raise UsageError(
            f"The image {image!r} of the application {launch.application!r} is not allowed at the site {site.name}; "
            f"allowed: {', '.join(site.images)}."
        )
    return image


def _restricted(site: KubernetesSite) -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": site.user,
        "runAsGroup": site.user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _pod(launch: Launch, site: KubernetesSite) -> dict[str, Any]:
    room = launch.disk or launch.max_output
    inputs = sum(item.max_size for item in launch.inputs if item.mount is None)
    mounted = {item.mount.volume for item in launch.inputs if item.mount is not None}
    storage_volumes = [
        {"name": volume_name(number), **(entry.volume or {})}
        for number, entry in enumerate(site.storage)
        if volume_name(number) in mounted
    ]
    optional: dict[str, Any] = {}
    if site.node_selector:
        optional["nodeSelector"] = dict(site.node_selector)
    if site.tolerations:
        optional["tolerations"] = [dict(toleration) for toleration in site.tolerations]
    if site.image_pull_secrets:
        optional["imagePullSecrets"] = [{"name": name} for name in site.image_pull_secrets]
    token: list[dict[str, Any]] = [
        {"serviceAccountToken": {"audience": site.audience, "expirationSeconds": 3600, "path": "token"}}
    ]
    if site.agent_ca:
        token.append({"configMap": {"name": site.agent_ca, "items": [{"key": "ca.crt", "path": "ca.crt"}]}})
    extra_volumes = [{key: value for key, value in volume.items() if key != "mountPath"} for volume in site.volumes]
    return {
        "restartPolicy": "Never",
        "serviceAccountName": site.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": max(site.stage_out, site.grace),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": site.user,
            "runAsGroup": site.user,
            "fsGroup": site.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_agent(launch, site)],
        "containers": [_command(launch, site)],
        "volumes": [
            {"name": "input", "emptyDir": {"sizeLimit": str(inputs + LOG_BYTES)}},
            {"name": "output", "emptyDir": {"sizeLimit": str(launch.max_output)} if launch.max_output else {}},
            {"name": "scratch", "emptyDir": {"sizeLimit": str(room)} if room else {}},
            {"name": "progress", "emptyDir": {"sizeLimit": str(2**20)}},
            {"name": "agent", "emptyDir": {"sizeLimit": str(2**20)}},
            {"name": "bin", "emptyDir": {"sizeLimit": str(4 * 2**20)}},
            {"name": "token", "projected": {"defaultMode": 0o440, "sources": token}},
            *storage_volumes,
            *extra_volumes,
        ],
        **optional,
    }


def _agent(launch: Launch, site: KubernetesSite) -> dict[str, Any]:
    program = ["python", "-I", "-m", "uws_service.agent.pod"]
    return {
        "name": AGENT,
        "image": site.agent_image,
        "imagePullPolicy": site.image_pull_policy,
        "restartPolicy": "Always",
        "command": program,
        "env": [
            {"name": "UWS_AGENT_URL", "value": _literal(site.agent_url.rstrip("/"))},
            {"name": "UWS_AGENT_TOKEN", "value": f"{TOKEN_FOLDER}/token"},
            {"name": "UWS_AGENT_CA", "value": f"{TOKEN_FOLDER}/ca.crt" if site.agent_ca else ""},
            {"name": "UWS_AGENT_ROOT", "value": ROOT},
        ],
        # The probe waits inside for the inputs, so the command starts as soon as they are there.
        "startupProbe": {
            "exec": {"command": [*program, "ready"]},
            "periodSeconds": 1,
            "timeoutSeconds": 30,
            "failureThreshold": 100_000,
        },
        "resources": {
            "requests": {"cpu": _cpu(AGENT_CPU), "memory": str(AGENT_REQUEST_BYTES)},
            "limits": {"memory": str(AGENT_LIMIT_BYTES)},
        },
        "securityContext": _restricted(site),
        "volumeMounts": [
            {"name": "input", "mountPath": INPUT},
            {"name": "output", "mountPath": OUTPUT, "readOnly": True},
            {"name": "progress", "mountPath": PROGRESS, "readOnly": True},
            {"name": "agent", "mountPath": f"{ROOT}/agent"},
            {"name": "bin", "mountPath": f"{ROOT}/bin"},
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            *_data_mounts(launch),
        ],
    }


def _command(launch: Launch, site: KubernetesSite) -> dict[str, Any]:
    room = launch.disk or launch.max_output
    words = [FOLDERS.expand(word) for word in launch.command]
    # What the application asks for is what the whole pod asks for: queues and quotas then count whole CPUs.
    share = launch.cpu - AGENT_CPU if launch.cpu > 2 * AGENT_CPU else launch.cpu
    requests: dict[str, str] = {"cpu": _cpu(share)}
    limits: dict[str, str] = {"cpu": _cpu(launch.cpu)} if site.cpu_limit else {}
    if launch.memory:
        requests["memory"] = limits["memory"] = str(launch.memory)
    if room and site.request_disk:
        files = launch.max_output + room + _data_bytes(launch)
        requests["ephemeral-storage"] = str(files)
        limits["ephemeral-storage"] = str(files + LOG_BYTES)
    if launch.gpus:
        limits[site.gpu_resource] = str(launch.gpus)
    return {
        "name": COMMAND,
        "image": _image(launch, site),
        "imagePullPolicy": site.image_pull_policy,
        "command": [LAUNCHER, USAGE, *(_literal(word) for word in words)],
        "workingDir": SCRATCH,
        "env": [
            *({"name": name, "value": _literal(value)} for name, value in _environment(launch).items()),
            *({"name": name, "valueFrom": {"secretKeyRef": _secret(name)}} for name in launch.passed),
        ],
        "resources": {"requests": requests, "limits": limits},
        "securityContext": _restricted(site),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "input", "mountPath": INPUT, "readOnly": True},
            {"name": "output", "mountPath": OUTPUT},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "progress", "mountPath": PROGRESS},
            {"name": "bin", "mountPath": f"{ROOT}/bin", "readOnly": True},
            *_data_mounts(launch),
            *({"name": "input", "mountPath": path, "readOnly": True} for path in launch.mounts),
            *({"name": volume["name"], "mountPath": volume["mountPath"], "readOnly": True} for volume in site.volumes),
        ],
    }


def _data_bytes(launch: Launch) -> int:
    """Return the bytes of data sets that are fetched into the pod."""
    return sum(item.size or 0 for item in launch.inputs if item.mount is None)


def _data_mounts(launch: Launch) -> list[dict[str, Any]]:
    """Return the mounts of data that the site has: each file alone, and nothing else of its storage area."""
    return [
        {"name": item.mount.volume, "mountPath": f"{DATA}/{number}", "subPath": item.mount.path, "readOnly": True}
        for number, item in enumerate(launch.inputs)
        if item.mount is not None
    ]


def _secret(name: str) -> dict[str, str]:
    """Return the secret of a variable of the site's.

    STARS_DATABASE is ``value`` in stars-database.
    """
    return {"name": name.lower().replace("_", "-"), "key": "value"}


def _environment(launch: Launch) -> dict[str, str]:
    """Return what the command sees.

    Values for which there is no room are in ``parameters.json``.
    """
    return command_environment(
        launch.job_id,
        FOLDERS,
        launch.environment,
        token_variable=launch.token_variable,
        max_bytes=ENVIRONMENT_MAX_BYTES,
    )


def _cpu(cores: float) -> str:
    return f"{max(1, round(cores * 1000))}m"
