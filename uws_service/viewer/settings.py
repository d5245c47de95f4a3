"""The section of the settings for looking into results."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from uws_service.units import Bytes, Seconds


class ViewerSettings(BaseModel):
    """Bounds of what shows results on pages."""

    model_config = ConfigDict(extra="forbid")

    processes: int = Field(
        2, ge=0, le=64, description="Most processes that read results for pages; 0: results are links alone."
    )
    seconds: Seconds = Field(60, ge=1, le=3600, description="Seconds that reading one result may take.")
    memory: Bytes = Field(512 * 1024**2, ge=16 * 1024**2, description="Memory of one such process for a result.")
    file: Bytes = Field(4 * 1024**3, ge=1024, description="Largest result that is looked into.")
    copy_size: Bytes = Field(
        1024**3, ge=1024**2, description="Largest copy of a table's rows, from which pages of it are read."
    )
    cache: Bytes = Field(4 * 1024**3, ge=1024**2, description="Disk for all copies of one process of the service.")
