"""The settings of a local site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from uws_service.sites.settings import SITE_NAME, Absence, SiteSettings
from uws_service.units import Seconds


class LocalSite(SiteSettings):
    """A site that runs jobs as processes on this machine."""

    name: str = Field("local", pattern=SITE_NAME, description="The site's name.")
    kind: Literal["local"] = Field("local", description="`local`: processes on this machine.")
    slots: int = Field(4, ge=1, description="How many jobs run at once.")
    processes: int = Field(1000, ge=1, description="How many processes one job may have at once.")
    lost_after: Seconds = Field(
        3600,
        ge=60,
        description="With several processes on one database: seconds after which another one takes the site over, "
        "although jobs of the process that drove it may still run on its machine.",
    )

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence(lost=self.lost_after * 1000)
