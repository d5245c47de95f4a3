"""Names of a service at a loopback address.

A page on the web can have its own name lead to 127.0.0.1 (DNS rebinding). To a browser the service is then that page's
own, and no other check helps; but the name stands in the Host header.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.types import Scope

from uws_service.domain.errors import Misdirected
from uws_service.web.settings import EdgeSettings

MOST_REMEMBERED = 1000


class LocalNames:
    """The names that lead to this machine alone."""

    def __init__(self, settings: EdgeSettings) -> None:
        names = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), *map(str.lower, settings.hosts)}
        if settings.base_url is not None:
            names.add((urlsplit(settings.base_url).hostname or "").lower())
        self._any = "*" in names
        self._names = frozenset(names)
        self._right: set[tuple[str, bytes]] = set()

    def require(self, scope: Scope, host: bytes | None) -> None:
        """Refuse a foreign name at a loopback address.

        Programs that send none are no browsers.
        """
        server = scope.get("server")
        if host is None or not server or self._any or (server[0], host) in self._right:
            return
        if _is_loopback(server[0]) and not self._is_local(host.decode("latin-1")):
            raise Misdirected(
                f"This service is not called {host.decode('latin-1')[:64]!r} on this machine: use localhost, or put "
                "the name into `base_url` or `hosts` of the service's settings."
            )
        if len(self._right) >= MOST_REMEMBERED:
            self._right.clear()
        self._right.add((server[0], host))

    def _is_local(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        return name in self._names or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    """Return whether a host is a number, not a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
