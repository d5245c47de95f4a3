"""What the settings say of a site for the choice among sites."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from uws_service.placement.model import Window
from uws_service.units import Bytes


class Downtime(BaseModel):
    """A time in which a site is down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: datetime = Field(description="When it begins, such as `2027-01-10T08:00Z`; without a zone it is UTC.")
    end: datetime = Field(description="When it ends.")
    reason: str = Field("", max_length=200, description="Why, in words for the owners of waiting jobs.")

    @field_validator("start", "end")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("`end` must be after `start`")
        return self

    @property
    def window(self) -> Window:
        """Return it in milliseconds."""
        return Window(int(self.start.timestamp() * 1000), int(self.end.timestamp() * 1000), self.reason)


class SiteFacts(BaseModel):
    """What counts when sites are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compute: str = Field(
        "",
        max_length=200,
        description="The id of the site's compute element in SRCNet's Site Capabilities (`site_capabilities`): its "
        "down times and its storage areas count too, and no jobs start while it is disabled there.",
    )
    downtimes: tuple[Downtime, ...] = Field(
        (), description="When the site is down: no job starts there that might run into such a time."
    )
    bandwidth: Mapping[str, Bytes] = Field(
        default_factory=dict,
        description="Bytes a second from storage areas to the site, such as `{archive: 1GB}`; also from its own areas "
        "that it does not mount. 0: nothing comes from there.",
    )
    any_bandwidth: Bytes = Field(50_000_000, gt=0, description="The same for all other storage areas.")
    carbon: float | None = Field(
        None, ge=0, description="Grams of CO2e for an hour of a core; counts only with `placement.weights.energy`."
    )
    price: float | None = Field(
        None, ge=0, description="Units of money for an hour of a core; counts only with `placement.weights.price`."
    )
    preference: Mapping[str, float] = Field(
        default_factory=dict,
        description='Seconds that the site costs more, or less if they are negative, by application; `""`: all others.',
    )
