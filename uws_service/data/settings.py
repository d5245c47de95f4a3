"""The settings section ``datasets``: catalogues of data, and bounds of what one job may have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from uws_service.settings_checks import is_secure
from uws_service.units import FractionalSeconds

CATALOGUE_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


def check_remote_url(url: str) -> str:
    """Return the base URL of a server to which secrets may be sent, without a slash at its end."""
    if not url.startswith(("https://", "http://")) or not is_secure(url):
        raise ValueError("must begin with https:// (http:// is taken for this machine alone)")
    return url.rstrip("/")


class CatalogueSettings(BaseModel):
    """The settings of one catalogue.

    Each kind of catalogue has a class of its own below this one, which gives ``kind`` a ``Literal`` type with its name.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=CATALOGUE_NAME, description="The catalogue's name, for messages.")
    kind: str = Field(description="What the catalogue is.")
    cache: FractionalSeconds = Field(
        60.0,
        ge=0,
        description="Seconds for which an answer is used again, for the same caller if the catalogue is "
        "asked in the callers' names.",
    )

    @property
    def audience(self) -> str | None:
        """Return the audience of the callers' tokens.

        None: the catalogue is not asked in their names.
        """
        return None

    @property
    def token_scopes(self) -> tuple[str, ...]:
        """Return the scopes of the callers' tokens."""
        return ()


class RemoteCatalogue(CatalogueSettings):
    """The settings of a catalogue that is asked by HTTP."""

    url: str = Field(description="Its base URL.")
    timeout: FractionalSeconds = Field(10.0, gt=0, description="Seconds without a byte after which it does not answer.")
    ivo: tuple[str, ...] = Field(
        (),
        description="What IVOIDs begin with that it knows, such as `ivo://example.org/data?`; `scope/name` or "
        "`scope:name` follows.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return check_remote_url(value)

    @field_validator("ivo")
    @classmethod
    def _ivo(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in value:
            if not prefix.lower().startswith("ivo://") or len(prefix) < 9:
                raise ValueError(f"{prefix[:100]!r} must begin with ivo:// and an authority")
        return value


class SiteCapabilities(BaseModel):
    """SRCNet's Site Capabilities API as a source of facts about sites."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="Its base URL, such as `https://site-capabilities.srcnet.skao.int/api/v1`.")
    token: SecretStr | None = Field(None, description="The service's token for it.")
    interval: FractionalSeconds = Field(300.0, gt=0, description="Seconds between two looks.")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return check_remote_url(value)
