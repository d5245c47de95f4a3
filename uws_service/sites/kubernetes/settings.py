"""The settings of a site at a Kubernetes cluster."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from uws_service.domain.attempt import Launch
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings
from uws_service.units import Seconds


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
    unknown_after: Seconds = Field(30, ge=1, description="Seconds without the site after which its jobs are UNKNOWN.")
    lost_after: Seconds = Field(
        6 * 3600,
        ge=1,
        description="Seconds without the site after which its jobs are given up there and tried elsewhere.",
    )
    qps: float = Field(100.0, gt=0, description="Most requests a second to the API server, watches not counted.")

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(self.unknown_after * 1000, self.lost_after * 1000)

    def allows_image(self, image: str) -> bool:
        """Return whether the site's patterns allow an image."""
        return any(fnmatch.fnmatchcase(image, pattern) for pattern in self.images)

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch; empty if it can."""
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
        return super().with_groups(resolve).model_copy(update={"priority_classes": classes})
