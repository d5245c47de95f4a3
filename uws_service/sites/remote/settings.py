"""The settings of a site that only calls out."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from uws_service.data.replicas import Storage
from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings, StorageSettings
from uws_service.units import Seconds

KEY_FORM = re.compile(r"sha256:[0-9a-f]{64}")


class RemoteSite(SiteSettings):
    """A site that nobody can call.

    Its runner (`uws-service runner`) calls this service.
    """

    name: str = Field(pattern=SITE_NAME, description="The site's name.")
    kind: Literal["remote"] = Field(description="`remote`: a site whose runner calls this service.")
    slots: int = Field(100, ge=1, le=10_000, description="How many jobs may be there at once.")
    keys: tuple[str, ...] = Field(
        (),
        description="Digests of the keys with which the site's runner shows who it is, as `uws-service runner-key` "
        "prints them: `sha256:` and 64 hexadecimal digits. Two while a key is replaced.",
    )
    clients: tuple[str, ...] = Field(
        (),
        description="Clients whose tokens (client credentials) of an issuer in `auth.issuers` the runner may show "
        "instead, as `subject@issuer-host`.",
    )
    images: bool = Field(False, description="Whether jobs run in container images there.")
    storage: tuple[StorageSettings, ...] = Field((), description="Storage areas that are near the site.")
    unknown_after: Seconds = Field(
        30, ge=0, description="Seconds without the runner, after its lease, after which the site's jobs are UNKNOWN."
    )
    lost_after: Seconds = Field(
        6 * 3600,
        ge=1,
        description="Seconds without the runner after which the site's jobs are given up there and tried elsewhere; "
        "what they hand over later is refused.",
    )

    @field_validator("keys")
    @classmethod
    def _keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not KEY_FORM.fullmatch(key) for key in value):
            raise ValueError("must be digests as `uws-service runner-key` prints them, never the keys themselves")
        return value

    @field_validator("clients")
    @classmethod
    def _clients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("@" not in client.strip("@") for client in value):
            raise ValueError("must be of the form subject@issuer-host")
        return value

    @property
    def runs_images(self) -> bool:  # type: ignore[override]  # here it depends on the site
        """Return whether jobs run in the container image of their application."""
        return self.images

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that are near.

        None is mounted.
        """
        return tuple(Storage(entry.area, "", takes_results=entry.results) for entry in self.storage)

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(self.unknown_after * 1000, self.lost_after * 1000)
