"""Discovery document and keys of an issuer.

Keys are cached as long as the issuer's Cache-Control says. After that they are used while one request fetches them anew
in the background; if the issuer is down they are used for ``stale_keys`` seconds. An unknown key id makes one fetch for
all requests that wait for it. There are `BURST` fetches at once and then one in `RETRY_SECONDS`, so that a flood of
invented ids costs the issuer nothing; what can't be looked up then answers 503, since it may be a new key.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import structlog

from uws_service.auth.answers import BadAnswer, fetch_answer
from uws_service.auth.settings import Issuer
from uws_service.domain.errors import ServiceUnavailable

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    Key = RSAKey | ECKey | OKPKey

log = structlog.get_logger(__name__)

RETRY_SECONDS = 10.0
"""Until then neither a missing key is looked for again, nor an issuer asked that failed."""
BURST = 3
"""Fetches that may follow each other at once."""
MAX_ABSENT_KEYS = 10_000
MAX_ABSENT_ID_CHARACTERS = 200
"""Longer ids are not remembered as absent; fetches are bounded anyway."""
MIN_CACHE_SECONDS, DEFAULT_CACHE_SECONDS, MAX_CACHE_SECONDS = 60.0, 3600.0, 86400.0
MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 16384
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,9})")


class IssuerFault(Exception):
    """The issuer gave no usable answer.

    The message says why.

    ``refusal`` is its error code (RFC 6749 §5.2) if it did answer, and the answer was no.
    """

    def __init__(self, message: str, refusal: str = "") -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(slots=True)
class Metadata:
    """The used part of a discovery document (Discovery 1.0 §3)."""

    issuer: str
    jwks_uri: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    sends_issuer: bool = False
    """Whether answers to logins name the issuer (RFC 9207 §3)."""

    def endpoint(self, name: str) -> str:
        """Return an endpoint by its name in the document."""
        url = self.endpoints.get(name)
        if url is None:
            raise IssuerFault(f"its discovery document names no {name}")
        return url


def cache_seconds(cache_control: str | None) -> float:
    """Return for how long an answer may be cached."""
    text = (cache_control or "").lower()
    if "no-store" in text or "no-cache" in text:
        return MIN_CACHE_SECONDS
    match = _MAX_AGE.search(text)
    return min(max(float(match[1]), MIN_CACHE_SECONDS), MAX_CACHE_SECONDS) if match else DEFAULT_CACHE_SECONDS


def usable_keys(document: Any) -> dict[str, list[Key]]:
    """Return the keys that can verify signatures, by id.

    Symmetric, weak, oversized and unreadable keys are left out, and those for other uses.
    """
    from joserfc.errors import JoseError  # with all of cryptography, which a service without issuers never needs
    from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise IssuerFault("its key set has no list of keys")
    if len(listed) > MAX_KEYS:
        raise IssuerFault(f"its key set has {len(listed)} keys, more than the {MAX_KEYS} that are looked at")
    keys: dict[str, list[Key]] = {}
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        if entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        key_id = entry.get("kid")
        if not isinstance(key_id, str):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weak keys; they are left out below
                key = import_key(entry)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAKey) and not MIN_RSA_BITS <= key.raw_value.key_size <= MAX_RSA_BITS:
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey):
            keys.setdefault(key_id, []).append(key)
    return keys


class IssuerKeys:
    """One issuer's metadata and keys.

    Parameters
    ----------
    changed
        Called when a key has vanished: what it verified must not be believed any longer.
    clock
        Seconds; any zero point.
    """

    def __init__(
        self,
        settings: Issuer,
        http: httpx2.AsyncClient,
        clock: Callable[[], float],
        *,
        stale: float,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.http = http
        self._clock = clock
        self._stale = stale
        self._changed = changed
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: dict[str, list[Key]] = {}
        self._fetched = self._until = float("-inf")
        self._failed = self._began = float("-inf")
        self._budget, self._budgeted = float(BURST), clock()
        self._absent: dict[str, float] = {}
        self._fault = ""
        self._running: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[Metadata] | None = None
        self.fetches = 0

    async def metadata(self) -> Metadata:
        """Return the discovery document; raise `IssuerFault`.

        It is fetched once for all requests that wait for it.
        """
        if self._metadata is not None and self._clock() < self._metadata[1]:
            return self._metadata[0]
        if self._describing is None:
            self._describing = asyncio.create_task(self._fetch_metadata())
            self._describing.add_done_callback(self._end_describing)
        return await asyncio.shield(self._describing)

    def _end_describing(self, task: asyncio.Task[Metadata]) -> None:
        self._describing = None
        if not task.cancelled():
            task.exception()  # those that wait have it; without any it would be logged as never retrieved

    async def _fetch_metadata(self) -> Metadata:
        now = self._clock()
        try:
            document, keep = await self._get(self.settings.url.rstrip("/") + "/.well-known/openid-configuration")
            metadata = _metadata(document, self.settings)
        except IssuerFault:
            if self._metadata is not None:  # where end points are changes rarely
                return self._metadata[0]
            raise
        self._metadata = (metadata, now + keep)
        return metadata

    async def keys(self, key_id: str) -> tuple[str, list[Key]]:
        """Return the issuer's name and its keys of this id.

        There are none if it has no such key.

        Raises
        ------
        ServiceUnavailable
            The issuer does not answer, and the key is not cached or too old.
        """
        now = self._clock()
        age = now - self._fetched
        keys: list[Key] | None = None
        if now < self._until or (key_id in self._keys and age <= self._stale):
            if now >= self._until and self._may_try(now):
                self._start()  # in the background: this request does not wait for it
            keys = self._keys.get(key_id)
            if keys is not None and self._metadata is not None:
                return self._metadata[0].issuer, keys
        if keys is None and self._absent.get(key_id, float("-inf")) > now and self._metadata is not None:
            return self._metadata[0].issuer, []
        for _ in range(2):  # a fetch that began before this request may have come too early for a new key
            if self._running is None and not self._may_try(self._clock()):
                break
            await asyncio.shield(self._running or self._start())
            keys = self._keys.get(key_id)
            if keys is not None:
                break
            if self._fetched >= self._began >= now:
                if len(self._absent) >= MAX_ABSENT_KEYS:
                    self._absent.clear()
                if len(key_id) <= MAX_ABSENT_ID_CHARACTERS:
                    self._absent[key_id] = self._clock() + RETRY_SECONDS
                return self._issuer_name(), []
        if keys is None or self._clock() - self._fetched > self._stale:
            log.warning("issuer can't be asked", issuer=self.settings.url, problem=self._fault or "asked too often")
            raise ServiceUnavailable(
                f"The issuer {self.settings.host} can't be asked for its keys now; the token can't be verified.",
                retry_after=int(RETRY_SECONDS),
            )
        return self._issuer_name(), keys

    async def fetch_all(self) -> int:
        """Fetch the discovery document and the keys.

        Return how many keys can be used.

        Raises
        ------
        IssuerFault
            They can't be fetched, or there is no key that can be used.
        """
        await self._fetch()
        if self._fault:
            raise IssuerFault(self._fault)
        if not self._keys:
            raise IssuerFault("its key set has no key that verifies signatures")
        return sum(map(len, self._keys.values()))

    def _issuer_name(self) -> str:
        assert self._metadata is not None
        return self._metadata[0].issuer

    def _may_try(self, now: float) -> bool:
        self._budget = min(float(BURST), self._budget + (now - self._budgeted) / RETRY_SECONDS)
        self._budgeted = now
        return self._budget >= 1 and now - self._failed >= RETRY_SECONDS

    def _start(self) -> asyncio.Task[None]:
        if self._running is None:
            self._budget -= 1
            self._began = self._clock()
            self._running = asyncio.create_task(self._fetch())
        return self._running

    async def _fetch(self) -> None:
        self.fetches += 1
        try:
            metadata = await self.metadata()
            document, keep = await self._get(metadata.jwks_uri)
            keys = usable_keys(document)
            vanished = self._keys.keys() - keys.keys() or any(
                {key.thumbprint() for key in old} - {key.thumbprint() for key in keys.get(name, [])}
                for name, old in self._keys.items()
            )
            self._keys, self._fetched, self._fault = keys, self._clock(), ""
            self._until = self._fetched + keep
            if vanished:
                self._changed()
        except IssuerFault as error:
            self._fault, self._failed = str(error), self._clock()
            log.warning("keys of an issuer can't be fetched", issuer=self.settings.url, problem=str(error))
        finally:
            self._running = None

    async def _get(self, url: str) -> tuple[Any, float]:
        """Fetch a JSON document.

        Return it and for how long it may be cached.
        """
        try:
            answer = await fetch_answer(self.http, "GET", url)
            if answer.status != 200:
                raise IssuerFault(f"{url} answers {answer.status}")
            return answer.json(), cache_seconds(answer.headers.get("cache-control"))
        except BadAnswer as error:
            raise IssuerFault(f"{url}: {error}") from None


def _metadata(document: Any, settings: Issuer) -> Metadata:
    if not isinstance(document, dict):
        raise IssuerFault("its discovery document is no JSON object")
    issuer_name = document.get("issuer")
    if not isinstance(issuer_name, str) or issuer_name.rstrip("/") != settings.url.rstrip("/"):
        raise IssuerFault(f"its discovery document names another issuer: {str(issuer_name)[:200]!r}")
    texts = {name: value for name, value in document.items() if isinstance(value, str)}
    for name, value in texts.items():
        if name == "jwks_uri" or name.endswith("_endpoint"):
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or (parts.scheme == "http" and settings.url.startswith("https:")):
                raise IssuerFault(f"its discovery document leads to an unsafe place: {name} is {value[:200]!r}")
    jwks_uri = texts.get("jwks_uri")
    if jwks_uri is None:
        raise IssuerFault("its discovery document names no jwks_uri")
    endpoints = {name: value for name, value in texts.items() if name.endswith("_endpoint")}
    sends_issuer = document.get("authorization_response_iss_parameter_supported") is True
    return Metadata(issuer_name, jwks_uri, endpoints, sends_issuer)
