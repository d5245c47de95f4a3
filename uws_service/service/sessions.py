"""Sessions of browsers that are logged in.

A signed cookie holds a random secret, the database the identity that it stands for. No token is stored. A session ends
when the person logs out, with the time that the settings give, and with the token it was opened with. A process caches
a session for a few seconds, so a logout reaches other processes that late.
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
CACHE_SECONDS = 5.0
CACHE_BYTES = 16 * 1024 * 1024


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
        self._cache: ByteCache[str, tuple[Identity, float]] = ByteCache(CACHE_BYTES)

    async def open(self, identity: Identity, ends: int) -> str:
        """Open a session until an instant.

        Return the cookie's value.
        """
        secret = await self._store.open_session("session", _encode(identity), self._clock(), ends, identity.owner)
        return seal(self._key, COOKIE, secret)

    async def find(self, cookie: bytes, name: str = COOKIE) -> tuple[Identity, str] | None:
        """Return the identity of a request's cookies and the session's secret.

        None: they are not of this service, or the session has ended.
        """
        sealed = cookie_value(cookie, name)
        secret = unseal(self._key, COOKIE, sealed) if sealed else None
        if secret is None:
            return None
        cached = self._cache.get(secret)
        if cached is not None and time.monotonic() < cached[1]:
            return cached[0], secret
        session = await self._store.session("session", secret, self._clock())
        if session is None:
            self._cache.drop(secret)
            return None
        content, ends = session
        identity = _decode(content)
        if issuer_host(identity.issuer) not in self._issuers:
            return None
        seconds = min(CACHE_SECONDS, (ends - self._clock()) / 1000)
        self._cache.put(secret, (identity, time.monotonic() + seconds), 2 * (len(content) + len(secret)))
        return identity, secret

    async def end(self, secret: str) -> None:
        """Log out."""
        self._cache.drop(secret)
        await self._store.end_session(secret)

    async def end_all(self, owner: str) -> int:
        """Log out everywhere; return how many sessions were ended."""
        self._cache.clear()
        return await self._store.end_sessions(owner)


def _encode(identity: Identity) -> str:
    return json.dumps(
        {
            "owner": identity.owner,
            "group": identity.group,
            "name": identity.name,
            "groups": sorted(identity.groups),
            "scopes": sorted(identity.scopes),
            "issuer": identity.issuer,
            "email": identity.email,
            "group_issuers": True,
        }
    )


def _decode(text: str) -> Identity:
    values = json.loads(text)
    # A session of an earlier version has groups without their issuer, which is the session's.
    host = "" if values.get("group_issuers") else issuer_host(values["issuer"])
    group, groups = values["group"], values["groups"]
    return Identity(
        owner=values["owner"],
        group=normal_group(group, host) if host and group else group,
        name=values["name"],
        groups=frozenset(normal_group(name, host) if host else name for name in groups),
        scopes=frozenset(values["scopes"]),
        issuer=values["issuer"],
        email=values.get("email", ""),
        challenged=True,
    )
