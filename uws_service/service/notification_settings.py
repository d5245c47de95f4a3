"""The section of the settings about notices to people and their programs."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from uws_service.units import Seconds

_ADDRESS = re.compile(r"[^\s@<>,;:\"\\]{1,64}@[A-Za-z0-9.-]{1,190}")


class Webhooks(BaseModel):
    """Requests to servers that callers name."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="Whether known callers may have events sent to servers of theirs.")
    allow_private: bool = Field(
        False,
        description="Also to servers of inner networks and this machine, by http, and at any port: for development.",
    )
    allow_hosts: tuple[str, ...] = Field(
        (),
        description="Names of hosts to which events may go although they have inner addresses; https, at any port.",
    )


class Mail(BaseModel):
    """An SMTP server."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(description="The SMTP server that takes mail.")
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    security: str = Field(
        "starttls", pattern="^(starttls|tls|none)$", description="`starttls`, `tls` from the beginning, or `none`."
    )
    user: str | None = Field(None, description="User name at the server.")
    password: SecretStr | None = Field(None, description="Password at the server.")
    sender: str = Field(description="Address that the mail comes from.")
    digest: Seconds = Field(300, ge=1, description="Seconds in which a caller gets one mail at most.")

    @field_validator("sender")
    @classmethod
    def _sender(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise ValueError("must be an address such as jobs@example.org")
        return value

    @model_validator(mode="after")
    def _login(self) -> Mail:
        if self.password is not None and self.security == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("a password goes over an encrypted connection only: set security")
        return self


class NotificationSettings(BaseModel):
    """How callers learn of events."""

    model_config = ConfigDict(extra="forbid")

    webhooks: Webhooks = Field(default_factory=Webhooks, description="Events to servers that callers name.")
    mail: Mail | None = Field(None, description="Mail about jobs that have ended. Unset: there is none.")
