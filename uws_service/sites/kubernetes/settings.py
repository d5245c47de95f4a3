"""The settings of a site at a Kubernetes cluster."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from uws_service.data.replicas import Storage, checked_path
from uws_service.domain.attempt import Launch
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings, StorageSettings
from uws_service.units import Seconds

MOUNTS_MAX = 200
"""Files of one job that are mounted one by one; an object of the cluster must stay small."""


STORAGE_VOLUME = "storage-"
"""What the names of pods' volumes for storage areas begin with."""


def volume_name(number: int) -> str:
    """Return the name of the pod's volume for a storage area, by its place in the settings."""
    return f"{STORAGE_VOLUME}{number}"


class KubernetesStorage(StorageSettings):
    """A storage area that a site's pods can mount."""

    volume: dict[str, Any] | None = Field(
        None,
        description="The source of a volume, as in a pod's `volumes` but without a name, such as "
        "`{persistentVolumeClaim: {claimName: lake}}`: files of the area are mounted read-only by `subPath`. Unset: "
        "the area is only near, and fetched from first.",
    )
    path: str = Field("", description="Where in the volume the area begins. Empty: at its root.")
    mounts: int = Field(
        MOUNTS_MAX, ge=0, le=1000, description="Most files of one job that are mounted; more are fetched."
    )

    @field_validator("volume")
    @classmethod
    def _volume(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and (len(value) != 1 or "name" in value):
            raise ValueError("must be one source of a volume, such as {persistentVolumeClaim: {claimName: lake}}")
        return value

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return checked_path(value.strip("/"), "path")


class KubernetesSite(SiteSettings):
    """A site that is one namespace of a Kubernetes cluster; each attempt of a job is one `batch/v1` Job there."""

    runs_images: ClassVar[bool] = True

    name: str = Field(pattern=SITE_NAME, description="The site's name.")
    kind: Literal["kubernetes"] = Field(description="`kubernetes`: a namespace of a cluster.")
    kubeconfig: Path | None = Field(
        None,
        description="File that says how to reach the cluster. Unset: the service account of the service's own pod.",
    )
    context: str | None = Field(None, description="Context in the kubeconfig. Unset: its current one.")
    namespace: str = Field(
        "default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Where Jobs are made."
    )
    slots: int = Field(
        100,
        ge=1,
        description="How many Jobs may be there at once, those included that wait in the cluster's own queues.",
    )
    agent_url: str = Field(
        description="The URL under which the site's pods reach this service; agents bring inputs and results there.",
    )
    agent_ca: str | None = Field(
        None, description="ConfigMap of the namespace whose `ca.crt` verifies `agent_url`, if its CA is a private one."
    )
    agent_image: str = Field(description="Image of the agent: the service's own image.")
    image: str | None = Field(
        None, description="Image for applications that name none, such as those that ship. Unset: the agent's image."
    )
    images: tuple[str, ...] = Field(
        ("*",), description="Patterns (`*`, `?`) of the images that applications may use at this site."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When images are pulled."
    )
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets of the namespace for private registries.")
    service_account: str = Field("default", description="Service account of the pods; it needs no rights at all.")
    audience: str = Field("uws-service", min_length=1, description="Audience of the tokens that agents show.")
    queue: str | None = Field(None, description="Kueue LocalQueue of the namespace. Unset: Jobs start without Kueue.")
    queues: dict[str, str] = Field(
        {},
        description="LocalQueues of groups, by their names: Kueue shares between these. `queue` is for all others.",
    )
    margin: int | None = Field(
        None,
        ge=1,
        description="How many Jobs of one group may wait in the cluster's queues at once, so that Kueue has something "
        "to choose from; further ones wait in the network. Unset: as many as `slots`.",
    )
    priority_classes: dict[str, str] = Field(
        {},
        description="PriorityClass (with a queue: WorkloadPriorityClass) by `application:NAME`, `group:NAME` or `*`.",
    )
    node_selector: dict[str, str] = Field({}, description="Labels that a node must have.")
    tolerations: tuple[dict[str, Any], ...] = Field((), description="Tolerations, as in a pod's specification.")
    gpu_resource: str = Field("nvidia.com/gpu", description="Resource that an application's `gpus` ask for.")
    request_disk: bool = Field(
        True,
        description="Ask for ephemeral storage. Off for a queue whose quota does not cover it: Kueue would never admit "
        "such a job. What a job may write is limited all the same.",
    )
    cpu_limit: bool = Field(False, description="Also limit the CPU to what was asked for; memory and disk always are.")
    volumes: tuple[dict[str, Any], ...] = Field(
        (),
        description="More volumes of the pods, such as shared data: a pod's `volumes` entries, each with a "
        "`mountPath`, mounted read-only into the command's container.",
    )
    storage: tuple[KubernetesStorage, ...] = Field(
        (), description="Storage areas whose files the site's pods can mount, or that are near."
    )
    user: int = Field(65534, ge=1, description="User and group id of the containers.")
    grace: Seconds = Field(
        30, ge=2, le=600, description="Seconds between SIGTERM and SIGKILL for a command that is aborted."
    )
    stage_out: Seconds = Field(
        600,
        ge=10,
        le=86400,
        description="Seconds that an agent has to hand over the results after its command's end, outages of this "
        "service included. It is the pods' `terminationGracePeriodSeconds`: who drains a node or preempts a job "
        "waits as long for a command that does not heed SIGTERM.",
    )
    ttl: Seconds = Field(
        7 * 86400, ge=60, description="Seconds after which the cluster removes an ended Job by itself."
    )
    patch: dict[str, Any] = Field(
        {}, description="Merged into every Job last (JSON merge patch), for what else a site wants."
    )
    image_patience: Seconds = Field(
        300, ge=0, description="Seconds that the pull of an image may fail before the job does."
    )
    schedule_patience: Seconds = Field(
        0, ge=0, description="Seconds that a pod may wait for a node before the job fails; 0: for ever."
    )
    volume_patience: Seconds = Field(
        600,
        ge=0,
        description="Seconds that a machine may take to make a pod's volumes and network ready before the job goes on "
        "elsewhere or fails: a volume that is not there shows in nothing else; 0: for ever.",
    )
    unknown_after: Seconds = Field(30, ge=1, description="Seconds without the site after which its jobs are UNKNOWN.")
    lost_after: Seconds = Field(
        6 * 3600,
        ge=1,
        description="Seconds without the site after which its jobs are given up there and tried elsewhere.",
    )
    qps: float = Field(100.0, gt=0, description="Most requests a second to the API server, watches not counted.")

    @model_validator(mode="after")
    def _queues(self) -> Self:
        if self.queue is None and (self.queues or self.margin is not None):
            raise ValueError("queues and margin need a queue, that of all other groups")
        return self

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""
        return tuple(
            Storage(
                entry.area,
                volume_name(number) if entry.volume and entry.mounts else "",
                entry.path,
                takes_results=entry.results,
                brings=entry.bring,
                mounts_max=entry.mounts,
            )
            for number, entry in enumerate(self.storage)
        )

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(self.unknown_after * 1000, self.lost_after * 1000)

    def allows_image(self, image: str) -> bool:
        """Return whether the site's patterns allow an image."""
        return any(fnmatch.fnmatchcase(image, pattern) for pattern in self.images)

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch.

        Empty if it can.
        """
        if launch.needs_image and not self.allows_image(launch.image):
            return f"its image is not allowed there; allowed: {', '.join(self.images)}"
        return ""

    def details(self, job_id: str, number: int) -> dict[str, str]:
        """Return where an attempt runs."""
        from uws_service.sites.kubernetes.manifest import job_name

        names = {"kubernetes_namespace": self.namespace, "kubernetes_job_name": job_name(job_id, number)}
        return {**super().details(job_id, number), **names}

    def with_groups(self, resolve: Callable[[str], Iterable[str]]) -> Self:
        """Return the settings with the names of groups replaced by the groups that they mean."""
        classes: dict[str, str] = {}
        for key, name in self.priority_classes.items():
            kind, _, group = key.partition(":")
            classes |= dict.fromkeys([f"group:{each}" for each in resolve(group)] if kind == "group" else [key], name)
        queues = {group: queue for name, queue in self.queues.items() for group in resolve(name)}
        update = {"priority_classes": classes, "queues": queues}
        return super().with_groups(resolve).model_copy(update=update)

    def queue_of(self, group: str) -> str | None:
        """Return the LocalQueue of a group's Jobs."""
        return self.queues.get(group, self.queue)

    @property
    def all_queues(self) -> tuple[str, ...]:
        """Return the LocalQueues of all groups, each once."""
        return tuple(dict.fromkeys([*([self.queue] if self.queue else []), *self.queues.values()]))
