"""The settings of a local site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Launch
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings, StorageSettings
from uws_service.units import Seconds

PRELOADED = (
    "uws_service.apps.crossmatch",
    "uws_service.apps.sleep",
    "uws_service.soda.command",
    "uws_service.tap.command",
)
"""The modules of the applications that ship with the service."""


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
    preloaded: tuple[str, ...] = Field(
        PRELOADED,
        description="Modules of Python whose commands, `python -m MODULE …`, are forked from a process that has "
        "imported the module, and so begin at once. A module must have a function `main` that returns the exit code, "
        "start no thread while it is imported, and keep nothing that is not for all jobs alike. Empty: every command "
        "is started as a program.",
    )
    path: tuple[Path, ...] = Field(
        (),
        description="Absolute folders in which commands are looked for, such as the `bin` of an application's own "
        "virtual environment: after the folder of the service's Python, before `/usr/local/bin`.",
    )
    lost_after: Seconds = Field(
        3600,
        ge=60,
        description="With several processes on one database: seconds after which another one takes the site over, "
        "although jobs of the process that drove it may still run on its machine.",
    )

    @field_validator("path")
    @classmethod
    def _folders(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in value:
            if not folder.is_absolute() or ":" in str(folder):
                raise ValueError(f"{folder} must be an absolute path without ':'")
        return value

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""
        return tuple(
            Storage(
                entry.area,
                str(entry.path) if entry.path is not None else "",
                takes_results=entry.results,
                brings=entry.bring,
            )
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
        """Return why the site can't take a launch.

        Empty if it can.
        """
        if launch.needs_image and not self.runner:
            return "it runs no container images (its setting `runner` is not set)"
        if launch.mounts:
            return "its runner shows inputs at the path of the input folder alone"
        return ""

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(lost=self.lost_after * 1000)
