"""The settings that the web reads."""

from __future__ import annotations

from typing import Protocol

from uws_service.service.presentation import Presentation


class EdgeSettings(Protocol):
    """The settings that the edge reads."""

    @property
    def base_url(self) -> str | None:
        """Return the public URL of the service's root.

        None: taken from each request.
        """

    @property
    def root_path(self) -> str:
        """Return the path that a proxy strips."""

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Return the networks of proxies whose headers are believed."""

    @property
    def identity_header(self) -> str | None:
        """Return the header in which a proxy names the user."""

    @property
    def presentation(self) -> Presentation:
        """Return what the service says of itself."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return further names of the service at loopback addresses."""


class WebSettings(EdgeSettings, Protocol):
    """The settings that the web reads."""

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Return origins whose pages may call the service."""
