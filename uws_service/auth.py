"""Who calls: from the request's headers to an identity, and what that identity may see.

At present the identity comes from a trusted proxy's header, or the caller is anonymous; see ``identity_header`` in
the settings. Whoever may not see a job gets 403 on all of it (UWS 1.1 §3, U-161).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from uws_service.errors import ConfigurationError, Forbidden, UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller. ``owner`` is None for anonymous callers; ``group`` is what usage is counted under."""

    owner: str | None = None
    group: str = ""

    @property
    def actor(self) -> str:
        """The word for this caller in the history of a job."""
        return self.owner if self.owner is not None else "anonymous"


ANONYMOUS = Identity()


def networks(addresses: tuple[str, ...]) -> tuple[Network, ...]:
    """Addresses or networks in CIDR form, parsed."""
    try:
        return tuple(ipaddress.ip_network(address, strict=False) for address in addresses)
    except ValueError as error:
        raise ConfigurationError(f"settings: trusted_proxies: {error}") from None


def is_trusted(client: str | None, trusted: tuple[Network, ...]) -> bool:
    """Whether a client's address is one of the trusted proxies'."""
    if client is None:  # a unix socket: only this machine can reach it
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in network for network in trusted)


def identify(value: str | None) -> Identity:
    """The identity that a trusted proxy named in its header; None or empty: anonymous."""
    if not value:
        return ANONYMOUS
    if len(value) > 256 or not value.isprintable():
        raise UsageError("The identity header holds more than 256 characters or unprintable ones.")
    return Identity(owner=value)


def require_access(owner: str | None, identity: Identity) -> None:
    """Raise `Forbidden` unless the identity may touch a job of this owner (U-161).

    An anonymous job is open to whoever knows its id, which can't be guessed.
    """
    if owner is not None and owner != identity.owner:
        raise Forbidden("This job belongs to somebody else.")
