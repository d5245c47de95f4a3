"""How sites are chosen: a section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from uws_service.placement.ranks import PlacementWeights


class Placement(BaseModel):
    """How the site of a job is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: PlacementWeights = Field(
        default_factory=PlacementWeights,
        description="What counts how much when a site is chosen; each in seconds that a job's owner would wait for it.",
    )
