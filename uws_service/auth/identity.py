"""The caller as a value, and access to jobs.

It comes from a verified token, a session of the browser, or a trusted proxy's header (``identity_header`` in the
settings); else the caller is anonymous. Whoever may not see a job gets 403 on all of it (UWS 1.1 §3, U-161).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from uws_service.domain.errors import AuthenticationRequired, ConfigurationError, Forbidden, UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES = 4096
"""Addresses about which an answer is remembered: each request asks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller.

    ``owner`` is what jobs belong to, made of issuer and subject, so that it is never given to anybody else; None for
    anonymous callers. ``group`` is what usage is counted under, ``name`` what people read. Groups carry their issuer,
    ``/team@iam.example.org``.
    """

    owner: str | None = None
    group: str = ""
    name: str = ""
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    issuer: str = ""
    email: str = ""
    """The address that the issuer has verified, if it tells any."""
    admin: bool = False
    challenged: bool = False
    """Whether the caller, being anonymous, could have logged in: 401 and not 403 is then the answer."""

    share: str = ""
    """The secret of a link that the request came with, for reading one job."""

    @property
    def actor(self) -> str:
        """Return the caller's name for a job's history."""
        return self.owner if self.owner is not None else "anonymous"


ANONYMOUS = Identity()


def networks(addresses: tuple[str, ...], setting: str = "trusted_proxies") -> tuple[Network, ...]:
    """Parse addresses and networks in CIDR form."""
    try:
        return tuple(ipaddress.ip_network(address, strict=False) for address in addresses)
    except ValueError as error:
        raise ConfigurationError(f"settings: {setting}: {error}") from None


def is_trusted(client: str | None, trusted: tuple[Network, ...]) -> bool:
    """Return whether an address is a trusted proxy's."""
    if client is None:  # a unix socket: only this machine can reach it
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in network for network in trusted)


@lru_cache(MAX_ADDRESSES)
def is_global(address: str) -> bool:
    """Return whether an address is of the public Internet."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def identify(value: str | None) -> Identity:
    """Return the identity in a trusted proxy's header."""
    if not value:
        return ANONYMOUS
    if len(value) > 256 or not value.isprintable():
        raise UsageError("The identity header holds more than 256 characters or unprintable ones.")
    return Identity(owner=value)


def issuer_host(url: str) -> str:
    """Return an issuer's URL without its scheme.

    So it stands in owners and groups.
    """
    parts = urlsplit(url)
    return (parts.netloc + parts.path).rstrip("/")


def normal_group(name: str, host: str = "") -> str:
    """Return a group with its slash and its issuer."""
    return f"/{name.strip('/')}@{host}" if host else "/" + name.strip("/")


def require_access(owner: str | None, identity: Identity) -> None:
    """Raise unless the identity may use the job (U-161).

    An anonymous job is open to whoever knows its id, which can't be guessed.

    Raises
    ------
    AuthenticationRequired
        The caller is unknown and could log in (A-003).
    Forbidden
        The caller is somebody else.
    """
    if owner is None or owner == identity.owner or identity.admin:
        return
    if identity.owner is None and identity.challenged:
        raise AuthenticationRequired("This job belongs to somebody; log in, or send a token.")
    raise Forbidden("This job belongs to somebody else.")
