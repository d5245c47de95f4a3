"""The settings of a local site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Launch
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings, StorageSettings
from uws_service.units import Seconds


class LocalStorage(StorageSettings):
    """A storage area that a site of this machine has."""

    path: Path | None = Field(
        None,
        description="The folder that holds the area: its files are linked into the jobs' inputs. Unset: it is only "
        "near, and fetched from first.",
    )

    @field_validator("path")
    @classmethod
    def _path(cls, value: Path | None) -> Path | None:
        if value is not None and ".." in value.parts:
            raise ValueError("must be a path without '..'")
        return value.absolute() if value is not None else None


class LocalSite(SiteSettings):
    """A site that runs jobs as processes on this machine."""

    name: str = Field("local", pattern=SITE_NAME, description="The site's name.")
    kind: Literal["local"] = Field("local", description="`local`: processes on this machine.")
    slots: int = Field(4, ge=1, description="How many jobs run at once.")
    processes: int = Field(1000, ge=1, description="How many processes one job may have at once.")
    storage: tuple[LocalStorage, ...] = Field((), description="Storage areas whose files the site has, or has near.")
    lost_after: Seconds = Field(
        3600,
        ge=60,
        description="With several processes on one database: seconds after which another one takes the site over, "
        "although jobs of the process that drove it may still run on its machine.",
    )

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""
        return tuple(
            Storage(entry.area, str(entry.path) if entry.path is not None else "", takes_results=entry.results)
            for entry in self.storage
        )

    runner: tuple[str, ...] = Field(
        (),
        description="Words of a command that runs what follows them inside the container image `{IMAGE}`, in its own "
        "process group, with the working folder and the folders `${UWS_INPUT_DIR}` and `${UWS_OUTPUT_DIR}` at the same "
        "paths. Unset: jobs that name an image do not run here.",
    )

    @field_validator("runner")
    @classmethod
    def _runner(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and not any("{IMAGE}" in word for word in value):
            raise ValueError("must have {IMAGE} in one of its words")
        if value and not value[0].startswith("/"):
            raise ValueError("must begin with the absolute path of a program")
        return value

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch; empty if it can."""
        if launch.needs_image and not self.runner:
            return "it runs no container images (its setting `runner` is not set)"
        if launch.mounts:
            return "its runner shows inputs at the path of the input folder alone"
        return ""

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(lost=self.lost_after * 1000)
