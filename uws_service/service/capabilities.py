"""The loop that reads what SRCNet's Site Capabilities publishes of the sites.

What was read last is kept in the database, so that it is there while the API is down, after a restart too.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog

from uws_service.data.answers import CatalogueFault, open_client, read_json
from uws_service.data.settings import SiteCapabilities
from uws_service.domain.errors import UwsError
from uws_service.placement.placer import Placer
from uws_service.placement.published import Published, parse_published
from uws_service.store import Store

log = structlog.get_logger(__name__)

NAME = "site-capabilities"
TIMEOUT_SECONDS = 10.0


class CapabilitiesPoll:
    """Reads what is published, for the choice among sites.

    Parameters
    ----------
    placer
        Gets what was read.
    """

    def __init__(self, settings: SiteCapabilities, store: Store, placer: Placer) -> None:
        self.settings = settings
        self.store = store
        self.placer = placer
        self.http = open_client(TIMEOUT_SECONDS)
        self._told: dict[str, tuple[str, ...]] = {}

    async def run(self) -> None:
        """Loop until cancelled."""
        try:
            await self._restore()
            while True:
                await self._look()
                await asyncio.sleep(self.settings.interval)
        finally:
            await self.http.aclose()

    async def _restore(self) -> None:
        """Use what an earlier process has read."""
        try:
            text = await self.store.site_states.published(NAME)
        except UwsError as error:
            log.warning("what Site Capabilities said can't be read", error=error.message)
            return
        if text:
            self._publish(_parsed(json.loads(text)))

    async def _look(self) -> None:
        try:
            answer = {name: await self._read(name) for name in ("compute", "storages")}
        except CatalogueFault as error:
            log.warning("Site Capabilities can't be asked; what it said last is used", problem=str(error))
            return
        published = _parsed(answer)
        if not published.computes:
            log.warning("Site Capabilities names no compute element; what it said last is used")
            return
        self._publish(published)
        try:
            await self.store.site_states.publish(NAME, json.dumps(answer))
        except UwsError as error:
            log.warning("what Site Capabilities says can't be kept", error=error.message)

    async def _read(self, name: str) -> Any:
        headers = {"accept": "application/json"}
        if self.settings.token is not None:
            headers["authorization"] = f"Bearer {self.settings.token.get_secret_value()}"
        return await read_json(self.http, "GET", f"{self.settings.url}/{name}", headers=headers)

    def _publish(self, published: Published) -> None:
        self.placer.publish(published)
        for name, site in self.placer.configured.items():
            problems = self.placer.contradictions(site)
            if problems != self._told.get(name, ()):
                self._told[name] = problems
                for problem in problems:
                    log.warning("the settings and Site Capabilities contradict each other", site=name, problem=problem)


def _parsed(answer: Any) -> Published:
    if not isinstance(answer, dict):
        return Published()
    return parse_published(answer.get("compute"), answer.get("storages"))
