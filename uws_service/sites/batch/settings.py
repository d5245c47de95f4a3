"""Settings that the sites of all batch systems share."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Launch
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings, StorageSettings
from uws_service.units import Bytes, FractionalSeconds, Seconds

PROGRAM = r"^/[^\s'\"]+$"


class BatchStorage(StorageSettings):
    """A storage area that the nodes of a batch system have."""

    path: Path | None = Field(
        None,
        description="The folder of the nodes that holds the area: its files are linked into the jobs' inputs. Unset: "
        "it is only near, and fetched from first.",
    )

    @field_validator("path")
    @classmethod
    def _path(cls, value: Path | None) -> Path | None:
        if value is not None and (".." in value.parts or not value.is_absolute()):
            raise ValueError("must be an absolute path without '..'")
        return value


class BatchSite(SiteSettings):
    """A site that is a batch system.

    Each attempt of a job is one batch job there, in which the agent runs.
    """

    runs_images: ClassVar[bool] = True

    name: str = Field(pattern=SITE_NAME, description="The site's name.")
    slots: int = Field(
        1000, ge=1, description="How many batch jobs may be there at once, those included that wait in its queue."
    )
    margin: int = Field(
        50,
        ge=1,
        description="How many jobs may wait in the system's queue: others stay here until it has begun some. A bulk "
        "of any size never stands whole in the queue.",
    )
    agent_url: str = Field(
        description="The URL under which the site's nodes reach this service; agents bring inputs and results there.",
    )
    agent_ca: str | None = Field(
        None, description="File of the nodes with the CA certificates that verify `agent_url`. Unset: the system's."
    )
    python: str = Field(
        "/usr/bin/python3", pattern=PROGRAM, description="Python of the nodes, 3.9 or newer; it runs the agent."
    )
    container: str | None = Field(
        None,
        pattern=PROGRAM,
        description="The nodes' program that runs images, `apptainer` or one that is called like it. Unset: jobs that "
        "name an image do not run here.",
    )
    container_options: tuple[str, ...] = Field(
        (), description="More options of `exec` for it, such as `--nv` or `--bind=/cvmfs:/cvmfs:ro`."
    )
    image: str | None = Field(
        None,
        description="Image for applications that name none, such as those that ship. Unset: they run on the node "
        "itself, which must have what they need.",
    )
    images: tuple[str, ...] = Field(
        ("*",), description="Patterns (`*`, `?`) of the images that applications may use at this site."
    )
    image_names: dict[str, str] = Field(
        {},
        description="What the container program is to run for an image: a file of the nodes, or a name with a scheme. "
        "Other images are run as `docker://IMAGE`.",
    )
    commands: dict[str, str] = Field(
        {},
        description="The nodes' programs for the first word of a command that runs without an image, such as "
        "`python: /opt/uws/bin/python3`.",
    )
    storage: tuple[BatchStorage, ...] = Field((), description="Storage areas whose files the nodes have, or have near.")
    grace: Seconds = Field(
        30, ge=2, le=600, description="Seconds between SIGTERM and SIGKILL for a command that is aborted."
    )
    stage_out: Seconds = Field(
        600,
        ge=10,
        le=86400,
        description="Seconds that an agent has to hand over the results after its command's end, outages of this "
        "service included.",
    )
    heartbeat: Seconds = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds between two signs of life of an agent. One that is silent for three times as long counts "
        "as dead if the system has lost its job.",
    )
    live_log: Seconds = Field(
        15,
        ge=0,
        le=3600,
        description="Seconds between two times at which an agent hands over the ends of logs that have grown, for "
        "those who read them while the command runs; 0: never.",
    )
    processes: int = Field(1000, ge=1, description="How many processes one job may have at once.")
    max_log: Bytes = Field(
        64 * 2**20, ge=1024, description="Bytes of a command's stdout and of its stderr that are kept, each."
    )
    poll: FractionalSeconds = Field(
        2.0, ge=0.2, le=60, description="Seconds between two looks at the system's jobs, all by one question."
    )
    stuck_patience: Seconds = Field(
        300, ge=0, description="Seconds that an operator has to release a job that the system has put on hold."
    )
    unknown_after: Seconds = Field(30, ge=1, description="Seconds without the site after which its jobs are UNKNOWN.")
    lost_after: Seconds = Field(
        6 * 3600,
        ge=1,
        description="Seconds without the site after which its jobs are given up there and tried elsewhere.",
    )

    @field_validator("agent_url")
    @classmethod
    def _agent_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be a URL that begins with https:// (or http:// in a closed network), without a user")
        return value.rstrip("/")

    @field_validator("images")
    @classmethod
    def _images(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not pattern.strip() for pattern in value):
            raise ValueError("a pattern must not be empty")
        return value

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""
        return tuple(
            Storage(entry.area, str(entry.path) if entry.path is not None else "", takes_results=entry.results)
            for entry in self.storage
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
        if launch.needs_image and self.container is None:
            return "it runs no container images (its setting `container` is not set)"
        if launch.needs_image and not self.allows_image(launch.image):
            return f"its image is not allowed there; allowed: {', '.join(self.images)}"
        if launch.mounts and self.container is None:
            return "its nodes show inputs at the path of the input folder alone"
        return ""
