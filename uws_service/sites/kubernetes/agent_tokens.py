"""Who an agent is.

Its pod's projected service-account token, verified with the keys of its own cluster.

The token is bound to the pod and meant for this service alone (its audience), and its claims are signed by the
cluster: namespace, service account, pod. The pod's name is made from the Job's, which names job and attempt.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, ServiceUnavailable, UwsError
from uws_service.sites.kind import UnknownToken
from uws_service.sites.kubernetes.cluster import Cluster, Missing
from uws_service.sites.kubernetes.manifest import attempt_of_pod

log = structlog.get_logger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256"]
LEEWAY_SECONDS = 30
"""Seconds by which clocks may differ."""
KEYS_SECONDS = 3600.0
"""Seconds for which a cluster's keys are used without asking again."""
FETCH_PAUSE_SECONDS = 2.0
"""An unknown key is looked for at most every so many seconds; less often at a site that does not answer."""
WAIT_SECONDS = 6.0
"""Seconds for which a token with an unknown key is kept waiting."""
TOKEN_LENGTH = 8192


@dataclass(slots=True)
class _Keys:
    """What a cluster's issuer says of itself."""

    cluster: Cluster
    issuer: str = ""
    keys: KeySet | None = None
    ids: frozenset[str] = frozenset()
    at: float = -KEYS_SECONDS
    """When the keys were fetched (monotonic seconds)."""
    next_try: float = 0.0
    failures: int = 0
    fetching: asyncio.Task[None] | None = None


class AgentTokens:
    """Verifies the tokens of all sites that are clusters."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._sites = [_Keys(cluster) for cluster in clusters]

    async def verify(self, token: str) -> AgentIdentity:
        """Return the pod that shows this token.

        Raises
        ------
        AuthenticationRequired
            It is not a token of an agent of one of our sites, or no longer.
        ServiceUnavailable
            The keys that could verify it can't be fetched now.
        """
        key_id = _key_id(token)
        if not any(key_id in site.ids for site in self._sites):
            await self._fetch_all()
        matches: list[tuple[_Keys, Mapping[str, Any]]] = []
        for site in self._sites:
            if site.keys is not None and key_id in site.ids:
                self._freshen(site)
                claims = self._claims(token, site)
                if claims is not None:
                    matches.append((site, claims))
        if not matches:
            if any(site.keys is None for site in self._sites):
                raise ServiceUnavailable("The keys of a site can't be fetched now.", retry_after=2)
            raise AuthenticationRequired("The token is not one of an agent at a site of this service, or has expired.")
        bound = matches[0][1]["kubernetes.io"]["pod"]
        attempt = attempt_of_pod(str(bound.get("name")))
        if attempt is None:
            raise AuthenticationRequired("The token belongs to a pod that is none of this service's jobs.")
        sites = frozenset(site.cluster.site.name for site, _ in matches)
        return AgentIdentity(sites, attempt[0], attempt[1], str(bound["uid"]))

    def _claims(self, token: str, site: _Keys) -> Mapping[str, Any] | None:
        """Return the claims of a token for us.

        None unless it comes from this site's namespace and account.
        """
        assert site.keys is not None
        settings = site.cluster.site
        try:
            claims = jwt.decode(token, site.keys, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": site.issuer},
                aud={"essential": True, "value": settings.audience},
                exp={"essential": True},
            ).validate(claims)
        except (JoseError, ValueError) as error:
            log.info("agent's token refused", site=settings.name, error=str(error))
            return None
        bound = claims.get("kubernetes.io")
        if not isinstance(bound, dict) or bound.get("namespace") != settings.namespace:
            return None
        account, pod = bound.get("serviceaccount"), bound.get("pod")
        if not isinstance(account, dict) or account.get("name") != settings.service_account:
            return None
        return claims if isinstance(pod, dict) and pod.get("uid") else None

    async def _fetch_all(self) -> None:
        """Look for an unknown key at all sites.

        A site that does not answer is not waited for long.
        """
        tasks = [task for site in self._sites if (task := self._fetch_soon(site)) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=WAIT_SECONDS)

    def _freshen(self, site: _Keys) -> None:
        """Fetch old keys once more.

        They are used meanwhile.
        """
        if time.monotonic() - site.at > KEYS_SECONDS:
            self._fetch_soon(site)

    def _fetch_soon(self, site: _Keys) -> asyncio.Task[None] | None:
        """Return the fetch that is under way, or begin one.

        None: the last one was a moment ago.
        """
        if site.fetching is not None and not site.fetching.done():
            return site.fetching
        if time.monotonic() < site.next_try:
            return None
        site.fetching = asyncio.create_task(self._fetch(site))
        return site.fetching

    async def _fetch(self, site: _Keys) -> None:
        """Get a site's keys.

        Those that are known are kept if that fails.
        """
        site.next_try = time.monotonic() + FETCH_PAUSE_SECONDS
        try:
            configuration = await site.cluster.ask("/.well-known/openid-configuration")
            keys = await site.cluster.ask("/openid/v1/jwks")
            site.keys = KeySet.import_key_set(keys)
            site.ids = frozenset(str(key.get("kid")) for key in keys["keys"])
            site.issuer = configuration["issuer"]
            site.at = time.monotonic()
            site.failures = 0
        except (UwsError, Missing, KeyError, TypeError, JoseError, ValueError) as error:
            site.failures += 1
            site.next_try = time.monotonic() + min(60.0, FETCH_PAUSE_SECONDS * 2**site.failures)
            log.warning("keys of a site can't be fetched", site=site.cluster.site.name, error=str(error))


def _key_id(token: str) -> str:
    try:
        if len(token) > TOKEN_LENGTH or token.count(".") != 2:
            raise ValueError
        head = token.partition(".")[0]
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        return str(header["kid"])
    except (ValueError, KeyError, TypeError):
        raise UnknownToken("That is not a service-account token.") from None
