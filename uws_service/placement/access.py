"""The jobs that a site takes: a section of its settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from uws_service.units import Bytes


class Access(BaseModel):
    """The jobs of a site.

    Empty fields allow all.
    """

    model_config = ConfigDict(extra="forbid")

    applications: tuple[str, ...] = Field((), description="Only these applications run here.")
    owners: tuple[str, ...] = Field(
        (), description="Only jobs of these owners run here; with `groups` too, one of both is enough."
    )
    groups: tuple[str, ...] = Field(
        (), description="Only jobs run here that count for one of these groups, as `auth.accounting_groups` says."
    )
    cpu: float | None = Field(None, gt=0, description="Most CPUs that one job may ask for.")
    memory: Bytes | None = Field(None, gt=0, description="Most bytes of memory that one job may ask for.")
    gpus: int | None = Field(None, ge=0, description="Most GPUs that one job may ask for.")
