"""The settings of a runner: one YAML file at its site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from uws_service import settings_messages
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import make_absolute
from uws_service.settings_checks import check_public_url, is_secure
from uws_service.sites.kinds import KINDS
from uws_service.sites.settings import SITE_NAME, SiteSettings
from uws_service.units import Bytes

if TYPE_CHECKING:
    LocalKind = SiteSettings
else:  # the settings of all kinds that a runner can drive, those of other packages too
    _KINDS = tuple(kind.settings for kind in KINDS.values() if kind.desks is None)
    LocalKind = Annotated[Union[_KINDS], Field(discriminator="kind")]  # noqa: UP007


class Client(BaseModel):
    """How the runner gets tokens from an issuer (OAuth 2.0 client credentials, RFC 6749 §4.4)."""

    model_config = ConfigDict(extra="forbid")

    token_url: str = Field(description="The issuer's token endpoint.")
    client_id: str = Field(min_length=1, description="The client's id.")
    secret_file: Path = Field(description="File with the client's secret, readable by the runner's user alone.")
    scope: str = Field("", description="Scopes to ask for.")
    audience: str = Field("", description="Audience to ask for, if the issuer wants one.")

    @field_validator("token_url")
    @classmethod
    def _token_url(cls, value: str) -> str:
        if not is_secure(value):
            raise ValueError("must begin with https://: the client's secret goes there")
        return value


class Relay(BaseModel):
    """Where agents at the site reach the runner instead of the service."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field("0.0.0.0", description="Address to listen at.")
    port: int = Field(8090, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")
    certificate: Path | None = Field(None, description="PEM file with the certificate chain. Unset: plain HTTP.")
    key: Path | None = Field(None, description="PEM file with the certificate's key.")
    spool: Bytes = Field(
        50 * 10**9, ge=0, description="Most bytes of results that are kept on disk while the service can't be called."
    )
    connections: int = Field(200, ge=1, le=10_000, description="Most agents that are answered at the same time.")

    @model_validator(mode="after")
    def _has_both(self) -> Relay:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class RunnerSettings(BaseModel):
    """All settings of a runner."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field(description="URL of the service's root; it must begin with https://, but on this machine.")
    site: str = Field(pattern=SITE_NAME, description="The site's name in the service's settings.")
    key_file: Path | None = Field(
        None, description="File with the site's key, readable by the runner's user alone (`uws-service runner-key`)."
    )
    client: Client | None = Field(None, description="The client of an issuer whose tokens are shown instead of a key.")
    ca: Path | None = Field(None, description="PEM file with the CA of the service, if it is a private one.")
    data: Path = Field(Path("uws-runner"), description="Folder for work folders and for what is to be handed over.")
    local: LocalKind = Field(description="What the runner drives: a site as in the service's settings, without name.")
    relay: Relay | None = Field(
        None, description="Where agents reach the runner, for kinds of site whose agents call by themselves."
    )
    log_format: Literal["json", "text"] = Field("text", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @field_validator("service")
    @classmethod
    def _service(cls, value: str) -> str:
        url = check_public_url(value)
        if not is_secure(url):
            raise ValueError("must begin with https://: keys, parameters and results go there")
        return url

    @model_validator(mode="before")
    @classmethod
    def _name_local(cls, value: Any) -> Any:
        """Give what is driven the site's name, which stands in the file once."""
        if isinstance(value, dict) and isinstance(value.get("local"), dict):
            return {**value, "local": {**value["local"], "name": value.get("site")}}
        return value

    @model_validator(mode="after")
    def _fits(self) -> RunnerSettings:
        if (self.key_file is None) == (self.client is None):
            raise ValueError("either key_file or client must say how the runner shows who it is")
        if self.needs_relay and self.relay is None:
            raise ValueError(f"relay must be set: agents of the kind {self.local.kind!r} call the runner")
        return self

    @property
    def needs_relay(self) -> bool:
        """Return whether the agents at the site call by themselves."""
        kind = KINDS[self.local.kind]
        return kind.tickets or kind.agents is not None

    @classmethod
    def load(cls, config: Path, site: str | None = None) -> RunnerSettings:
        """Read a file; an argument wins over it.

        Raises
        ------
        ConfigurationError
            Names the file, the line and the field, and what is allowed.
        """
        try:
            text = config.read_text(encoding="utf-8")
            document = yaml.compose(text, Loader=yaml.SafeLoader)
            content = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigurationError(f"{config}: {getattr(error, 'strerror', None) or error}") from None
        if not isinstance(content, dict):
            raise ConfigurationError(f"{config}:1: must be a mapping of setting names to values")
        values = {**content, **({"site": site} if site is not None else {})}
        local = values.get("local")
        kind = KINDS.get(str(local.get("kind"))) if isinstance(local, dict) else None
        for section, model in (
            (values, cls),
            (values.get("client"), Client),
            (values.get("relay"), Relay),
            (local, kind.settings if kind is not None else BaseModel),
        ):
            make_absolute(section, model, config.parent)
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigurationError(
                settings_messages.describe(error, cls, settings_messages.Origin(config, document))
            ) from None


def secret_in(path: Path) -> str:
    """Return the secret in a file that nobody else can read; raise `ConfigurationError`."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path}: others can read it; run `chmod 600 {path}`")
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not secret:
        raise ConfigurationError(f"{path}: is empty")
    return secret
