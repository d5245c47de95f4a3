"""SRCNet's Permissions API: may this token use this route?

It is asked after every local check has passed, by one POST for each question. The token is in the query, as that API
needs it, so the URL is never logged. Permissions are cached for a short while, refusals never. No answer is an outage
(503), not a refusal (403).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping

import httpx2
import structlog

from uws_service.auth.answers import BadAnswer, fetch_answer
from uws_service.auth.settings import Permissions
from uws_service.domain.errors import Forbidden, ServiceUnavailable

log = structlog.get_logger(__name__)

MAX_CACHED = 20_000
RETRY_SECONDS = 10


class PermissionsApi:
    """Asks one Permissions API.

    Parameters
    ----------
    clock
        Seconds; any zero point.
    """

    def __init__(self, settings: Permissions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._http = httpx2.AsyncClient(timeout=settings.timeout, follow_redirects=False, trust_env=False)
        self._granted: dict[bytes, float] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def require(self, token: str, route: str, method: str, parameters: Mapping[str, str]) -> None:
        """Raise unless the token may use the route.

        Parameters
        ----------
        route
            The path's template, such as ``/{application}/async``.
        parameters
            What stands for the names in it.

        Raises
        ------
        Forbidden
            It may not.
        ServiceUnavailable
            The API can't be asked now.
        """
        body = dict(sorted(parameters.items()))
        key = hashlib.sha256(json.dumps([token, route, method, body]).encode()).digest()
        if self._granted.get(key, float("-inf")) > self._clock():
            return
        if not await self._ask(token, route, method, body):
            raise Forbidden(f"SRCNet's Permissions API does not let you use {method} {route}.")
        if len(self._granted) >= MAX_CACHED:
            self._granted.clear()
        self._granted[key] = self._clock() + self.settings.cache

    async def _ask(self, token: str, route: str, method: str, body: Mapping[str, str]) -> bool:
        url = f"{self.settings.url}/authorise/route/{self.settings.service}"
        query = {"route": route, "method": method, "version": self.settings.version, "token": token}
        try:
            answer = await fetch_answer(self._http, "POST", url, params=query, json=dict(body))
        except BadAnswer as error:
            raise self._unavailable(str(error)) from None
        if answer.status in (401, 403):
            return False
        try:
            document = answer.json()
        except BadAnswer as error:
            raise self._unavailable(f"status {answer.status}, {error}") from None
        granted = document.get("is_authorised") if isinstance(document, dict) else None
        if answer.status != 200 or not isinstance(granted, bool):
            raise self._unavailable(f"status {answer.status}")
        return granted

    def _unavailable(self, problem: str) -> ServiceUnavailable:
        log.warning("the Permissions API can't be asked", url=self.settings.url, problem=problem)
        return ServiceUnavailable("The Permissions API can't be asked now.", retry_after=RETRY_SECONDS)
