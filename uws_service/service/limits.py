"""The section of the settings that limits requests."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from uws_service.units import Bytes, Seconds


class Limits(BaseModel):
    """Limits of a request, a job, a client."""

    model_config = ConfigDict(extra="forbid")

    @property
    def text(self) -> int:
        """Return the limit of all values of a request or job together, in bytes.

        They are in memory at once.
        """
        return 16 * self.value

    @property
    def form_text(self) -> int:
        """Return the bytes that one form may take, files not counted: each byte may be written as three."""
        return 3 * (self.text + 256 * self.parameters)

    body: Bytes = Field(1024**3, ge=1024, description="Largest request body, in bytes.")
    upload: Bytes = Field(512 * 1024**2, ge=1, description="Largest uploaded file, in bytes.")
    value: Bytes = Field(
        1024**2,
        ge=16,
        description="Largest value of one parameter, in bytes; all of a request or a job: 16 times that.",
    )
    parameters: int = Field(1000, ge=1, description="Most parameters in one job.")
    files: int = Field(50, ge=0, description="Most uploaded files in one job.")
    bulk: int = Field(10_000, ge=1, description="Most jobs that one table makes, whatever an application allows.")
    unfinished: Bytes = Field(
        20 * 1024**3, ge=1024, description="Bytes of files that may be on their way to one process at once."
    )
    form_memory: Bytes = Field(
        512 * 1024**2,
        ge=1024,
        description="Bytes of forms that one process holds in memory at once, files not counted; "
        "a quarter of it for one caller. Forms below 64 KiB are always taken.",
    )
    wait: Seconds = Field(50, ge=1, description="Longest WAIT, in seconds; keep it below every proxy's read timeout.")
    streams: int = Field(10_000, ge=0, description="Most streams of events at once in one process.")
    streams_each: int = Field(20, ge=0, description="Most streams of events at once of one caller in one process.")
    blocked: int = Field(
        60_000,
        ge=1,
        description="Most requests of both kinds at once; fewer where there are too few file descriptors.",
    )
    waiters: int = Field(50_000, ge=1, description="Most requests that may block in WAIT at once; more return early.")
