"""Browsers that are logged in: a signed cookie holds a random secret, the database what it stands for.

No token is kept. A session ends when the person logs out, with the time that the settings give, and with the token
it was opened with. A process remembers a session for a few seconds, so a logout reaches other processes that late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection

from uws_service.auth import Identity
from uws_service.auth.identity import issuer_host, normal_group
from uws_service.auth.signed_cookies import cookie_value, seal, unseal
from uws_service.byte_cache import ByteCache
from uws_service.store.access import AccessStore

COOKIE = "uws_session"
REMEMBERED = 5.0
"""Seconds."""
KEPT_BYTES = 16 * 1024 * 1024
"""Bytes of the identities that are remembered."""


class Sessions:
    """Opens, finds and ends sessions.

    Parameters
    ----------
    key
        Signs cookies; the same in all processes.
    clock
        The present instant in milliseconds.
    issuers
        The URLs of the issuers that are trusted now: sessions of others are over.
    """

    def __init__(self, store: AccessStore, key: bytes, clock: Callable[[], int], issuers: Collection[str]) -> None:
        self._store = store
        self._issuers = frozenset(issuer_host(url) for url in issuers)
        self._key = key
        self._clock = clock
        self._known: ByteCache[str, tuple[Identity, float]] = ByteCache(KEPT_BYTES)

    async def open(self, identity: Identity, ends: int) -> str:
        """A new session until an instant in milliseconds; the cookie's value."""
        secret = await self._store.open_session("session", _written(identity), self._clock(), ends)
        return seal(self._key, COOKIE, secret)

    async def find(self, cookie: bytes, name: str = COOKIE) -> tuple[Identity, str] | None:
        """Who a request's cookies stand for, and the session's secret; None if they are not ours, or no longer."""
        sealed = cookie_value(cookie, name)
        secret = unseal(self._key, COOKIE, sealed) if sealed else None
        if secret is None:
            return None
        known = self._known.get(secret)
        if known is not None and time.monotonic() < known[1]:
            return known[0], secret
        found = await self._store.session("session", secret, self._clock())
        if found is None:
            self._known.drop(secret)
            return None
        identity = _read(found[0])
        if issuer_host(identity.issuer) not in self._issuers:
            return None
        left = (found[1] - self._clock()) / 1000
        self._known.put(secret, (identity, time.monotonic() + min(REMEMBERED, left)), 2 * (len(found[0]) + len(secret)))
        return identity, secret

    async def end(self, secret: str) -> None:
        """Log out."""
        self._known.drop(secret)
        await self._store.end_session(secret)


def _written(identity: Identity) -> str:
    return json.dumps(
        {
            "owner": identity.owner,
            "group": identity.group,
            "name": identity.name,
            "groups": sorted(identity.groups),
            "scopes": sorted(identity.scopes),
            "issuer": identity.issuer,
            "group_issuers": True,
        }
    )


def _read(text: str) -> Identity:
    found = json.loads(text)
    # A session of an earlier version has groups without their issuer, which is the session's.
    host = "" if found.get("group_issuers") else issuer_host(found["issuer"])
    group, groups = found["group"], found["groups"]
    return Identity(
        owner=found["owner"],
        group=normal_group(group, host) if host and group else group,
        name=found["name"],
        groups=frozenset(normal_group(name, host) if host else name for name in groups),
        scopes=frozenset(found["scopes"]),
        issuer=found["issuer"],
        challenged=True,
    )
