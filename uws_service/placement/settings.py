"""How sites are chosen: a section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from uws_service.placement.patience import Patience
from uws_service.placement.ranks import PlacementWeights
from uws_service.placement.shares import FairShares


class Placement(BaseModel):
    """How the site of a job is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: PlacementWeights = Field(
        default_factory=PlacementWeights,
        description="What counts how much when a site is chosen; each in seconds that a job's owner would wait for it.",
    )
    patience: Patience = Field(
        default_factory=Patience, description="How long jobs wait for a better site when another one has room."
    )
    shares: FairShares = Field(
        default_factory=FairShares, description="In which order waiting jobs are taken: the parts of groups and owners."
    )


DEFAULT_PLACEMENT = Placement()
