"""The jobs that a site takes: a section of its settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Access(BaseModel):
    """The jobs of a site; empty fields allow all."""

    model_config = ConfigDict(extra="forbid")

    applications: tuple[str, ...] = Field((), description="Only these applications run here.")
    owners: tuple[str, ...] = Field((), description="Only jobs of these owners run here.")
    groups: tuple[str, ...] = Field((), description="Only jobs of members of these groups run here.")
    cpu: float | None = Field(None, gt=0, description="Most CPUs that one job may ask for.")
    memory: int | None = Field(None, gt=0, description="Most bytes of memory that one job may ask for.")
    gpus: int | None = Field(None, ge=0, description="Most GPUs that one job may ask for.")
