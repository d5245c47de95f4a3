"""The settings of a local site."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from uws_service.sites.settings import SITE_NAME, SiteSettings


class LocalSite(SiteSettings):
    """A site that runs jobs as processes on this machine."""

    name: str = Field("local", pattern=SITE_NAME, description="The site's name.")
    kind: Literal["local"] = Field("local", description="`local`: processes on this machine.")
    slots: int = Field(4, ge=1, description="How many jobs run at once.")
