"""The settings of what a service says of itself: title, contact, banner, terms, logo."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
LOGO_MAX_BYTES = 256 * 1024
_MAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+")


class Presentation(BaseModel):
    """What the pages, the root and VOSI say of the service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field("", max_length=100, description="Name of the service, at the head of each page.")
    contact: str = Field("", description="A mail address or an http(s) URL, at the foot of each page.")
    banner: str = Field(
        "",
        max_length=500,
        description="A sentence at the head of each page and among the notes of VOSI's availability, such as of a "
        "downtime that comes.",
    )
    terms: str = Field("", description="http(s) URL of the terms of use, at the foot of each page.")
    logo: Path | None = Field(
        None,
        description="A picture (.svg, .png, .jpg, .webp; at most 256 KiB) beside the title, served at /static/logo.",
    )

    @field_validator("contact")
    @classmethod
    def _contact(cls, value: str) -> str:
        if value and not _is_url(value) and not _MAIL.fullmatch(value):
            raise ValueError("must be a mail address or an http(s) URL")
        return value

    @field_validator("terms")
    @classmethod
    def _terms(cls, value: str) -> str:
        if value and not _is_url(value):
            raise ValueError("must be an http(s) URL")
        return value

    @field_validator("logo")
    @classmethod
    def _logo(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        if value.suffix.lower() not in LOGO_TYPES:
            raise ValueError(f"must end in {', '.join(LOGO_TYPES)}")
        if not value.is_file() or value.stat().st_size > LOGO_MAX_BYTES:
            raise ValueError(f"must be a file of at most {LOGO_MAX_BYTES} bytes that can be read")
        return value

    @property
    def contact_link(self) -> str:
        """Return the contact as a link; empty: there is none."""
        return f"mailto:{self.contact}" if self.contact and not _is_url(self.contact) else self.contact

    def document(self) -> dict[str, str]:
        """Return what the root's JSON says of the service."""
        fields = {"title": self.title, "contact": self.contact, "banner": self.banner, "terms": self.terms}
        return {name: text for name, text in fields.items() if text}


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
