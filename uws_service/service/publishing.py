"""What the records of jobs say that no job knows: who publishes them, and under which licence."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Publishing(BaseModel):
    """Provenance and crates of jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    publisher: str = Field("", max_length=200, description="Who gives the records. Unset: the service's host.")
    publisher_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="The publisher's page, best its ROR. Unset: the service's root.",
    )
    licence: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="URL of the licence of crates. Unset: a crate says that none is stated.",
    )
    lake: bool = Field(
        False,
        description="Put the provenance of jobs whose results go into the data lake there too, as one more file of the "
        "same data set. Needs `base_url`.",
    )
    opus_results: bool = Field(
        False,
        description="List the provenance of each ended job among its results too, as `provjson` and `provsvg`, the "
        "names that OPUS gives them.",
    )
