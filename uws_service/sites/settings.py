"""What the settings of every kind of site have, and what jobs may fetch at all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from uws_service.accounting.settings import SiteAccounting
from uws_service.data.replicas import Storage
from uws_service.domain.attempt import Launch
from uws_service.placement.access import Access
from uws_service.placement.facts import SiteFacts
from uws_service.units import FractionalSeconds

SITE_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class Fetch(BaseModel):
    """What stage-in may fetch when a parameter names a URL."""

    model_config = ConfigDict(extra="forbid")

    allow_private: bool = Field(
        False, description="Let jobs fetch from loopback, private and link-local addresses. Only for closed networks."
    )
    allow_hosts: tuple[str, ...] = Field(
        (), description="Host names that may be fetched from even if their address is private."
    )
    timeout: FractionalSeconds = Field(60.0, gt=0, description="Seconds without a byte after which a fetch fails.")


class StorageSettings(BaseModel):
    """A storage area that a site has, as catalogues of data name it.

    Each kind of site has a class of its own below this one, with the way to the files.
    """

    model_config = ConfigDict(extra="forbid")

    area: str = Field(
        min_length=1,
        max_length=200,
        description="The area's name in the catalogues: a storage element of Rucio, the id of an SRCNet storage area, "
        "or a name of a static catalogue.",
    )
    results: bool = Field(
        False, description="Put results here that applications want in the data lake; the first such area is taken."
    )
    bring: bool = Field(
        False,
        description="Have the data lake (a catalogue of the kind `rucio`) copy here what a job reads and none of the "
        "site's areas has, before the job starts; the first such area is taken.",
    )


class SiteSettings(BaseModel):
    """The settings of one site.

    Each kind of site has a class of its own below this one.

    A kind gives ``kind`` a ``Literal`` type with its name.
    """

    model_config = ConfigDict(extra="forbid")

    runs_images: ClassVar[bool] = False
    """Whether jobs run in the container image of their application."""

    name: str = Field(pattern=SITE_NAME, description="The site's name.")
    kind: str = Field(description="What the site is.")
    slots: int = Field(1, ge=1, description="How many jobs run at once.")
    access: Access = Field(default_factory=Access, description="Which jobs the site takes.")
    facts: SiteFacts = Field(
        default_factory=SiteFacts, description="What counts when sites are compared: down times, links, costs."
    )

    accounting: SiteAccounting = Field(
        default_factory=SiteAccounting, description="What accounts need to know: name, benchmark, energy, grid."
    )

    def storage_areas(self) -> tuple[Storage, ...]:
        """Return the storage areas that the site has."""
        return ()

    @property
    def absence(self) -> Absence:
        """Return how long the site may be silent."""
        return Absence()

    def objection(self, launch: Launch) -> str:
        """Return why the site can't take a launch.

        Empty if it can.
        """
        return "it runs no container images" if launch.needs_image and not self.runs_images else ""

    def details(self, job_id: str, number: int) -> dict[str, str]:
        """Return where an attempt runs, in words of the site's kind."""
        return {"execution_backend": self.kind}

    def with_groups(self, resolve: Callable[[str], Iterable[str]]) -> Self:
        """Return the settings with the names of groups replaced by the groups that they mean."""
        groups = tuple(group for name in self.access.groups for group in resolve(name))
        return self.model_copy(update={"access": self.access.model_copy(update={"groups": groups})})


@dataclass(frozen=True, slots=True)
class Absence:
    """How long a site may be silent before its jobs are UNKNOWN, and before they are given up; milliseconds."""

    unknown: int = 30_000
    lost: int = 6 * 3_600_000
