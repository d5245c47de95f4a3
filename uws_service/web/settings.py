"""The settings that the web reads; those of the whole service have them all."""

from __future__ import annotations

from typing import Protocol


class EdgeSettings(Protocol):
    """The settings that the edge reads."""

    @property
    def base_url(self) -> str | None:
        """The public URL of the service's root; None: taken from each request."""

    @property
    def root_path(self) -> str:
        """The path under which a proxy serves us, if the proxy strips it."""

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Addresses or networks of proxies whose headers are believed."""

    @property
    def identity_header(self) -> str | None:
        """The header in which a trusted proxy names the user."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """More names by which the service may be called at a loopback address."""


class WebSettings(EdgeSettings, Protocol):
    """The settings that the web reads."""

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Origins whose pages may call the service from a browser."""
