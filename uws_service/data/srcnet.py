"""SRCNet's catalogue: Data Management's ``locate``, joined with Site Capabilities' storage areas.

``locate`` takes one identifier, so some of them are asked for at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import structlog
from pydantic import Field, SecretStr, field_validator

from uws_service.data.answers import CatalogueFault, open_client, read_json
from uws_service.data.catalogue import Absent, Catalogue, CatalogueKind, Outcome, did_of
from uws_service.data.identifiers import Did, Identifier, file_name
from uws_service.data.replicas import REPLICAS_MAX, checked_checksums, checked_path, checked_size
from uws_service.data.settings import RemoteCatalogue, check_remote_url
from uws_service.domain.dataset import DataFile, DataSet, Replica

log = structlog.get_logger(__name__)

AT_ONCE = 10
"""Identifiers that are asked for at the same time."""
AREAS_SECONDS = 3600.0
"""So long the picture of the storage areas is used; longer while Site Capabilities does not answer."""
RETRY_SECONDS = 60.0


class SrcNetSettings(RemoteCatalogue):
    """SRCNet's Data Management API."""

    kind: Literal["srcnet"] = Field(description="`srcnet`: SRCNet's Data Management API.")
    capabilities: str | None = Field(
        None,
        description="Base URL of the Site Capabilities API, which says where a storage area begins; without it nothing "
        "can be mounted.",
    )
    capabilities_token: SecretStr | None = Field(None, description="The service's token for the Site Capabilities API.")
    caller_audience: str = Field(
        "data-management-api",
        min_length=1,
        description="The audience of the tokens that the issuer gives in exchange for the callers'.",
    )
    caller_scopes: tuple[str, ...] = Field((), description="The scopes of these tokens.")

    @field_validator("capabilities")
    @classmethod
    def _capabilities(cls, value: str | None) -> str | None:
        return check_remote_url(value) if value is not None else None

    @property
    def audience(self) -> str | None:
        """Return the audience of the callers' tokens."""
        return self.caller_audience

    @property
    def token_scopes(self) -> tuple[str, ...]:
        """Return the scopes of the callers' tokens."""
        return self.caller_scopes


class SrcNetCatalogue(Catalogue):
    """The data of SRCNet.

    A storage area has the name of its id there.
    """

    settings: SrcNetSettings

    def __init__(self, settings: SrcNetSettings) -> None:
        super().__init__(settings)
        self.http = open_client(settings.timeout, AT_ONCE)
        self._areas: Mapping[str, str] = {}
        self._areas_until = 0.0

    async def close(self) -> None:
        """Close all connections."""
        await self.http.aclose()

    async def find(self, identifiers: Sequence[Identifier], token: str | None) -> Mapping[str, Outcome]:
        """Return what ``locate`` says of each identifier."""
        named = {
            identifier.text: did
            for identifier in identifiers
            if (did := did_of(identifier, self.settings.ivo)) is not None
        }
        areas = await self._storage_areas() if named else {}
        places = asyncio.Semaphore(AT_ONCE)

        async def locate(text: str, did: Did) -> Outcome:
            async with places:
                return await self._locate(text, did, areas, token or "")

        answers = await asyncio.gather(*(locate(text, did) for text, did in named.items()))
        return dict(zip(named, answers, strict=True))

    async def _locate(self, text: str, did: Did, areas: Mapping[str, str], token: str) -> Outcome:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        key = f"{quote(did.scope, safe='')}/{quote(did.name, safe='')}"
        try:
            # The address in "nearest_by_ip" would be the service's own, which is no place where jobs run.
            places = await read_json(
                self.http, "GET", f"{self.settings.url}/data/locate/{key}?sort=random", headers=headers
            )
            about = await read_json(
                self.http, "GET", f"{self.settings.url}/metadata/{key}?plugin=DID_COLUMN", headers=headers
            )
        except CatalogueFault as error:
            if error.status in (401, 403):
                return Absent(f"{text} is not yours to see: {error}")
            if error.status == 404:
                return Absent(f"{text} is not known to the catalogue, or not yours to see")
            raise
        if not isinstance(places, list) or not isinstance(about, dict):
            raise CatalogueFault(f"{self.name} does not answer as SRCNet's Data Management does")
        kind = str(about.get("did_type") or "FILE").upper()
        if kind.rpartition(".")[2] != "FILE":
            return Absent(
                f"{text} is a {kind.lower()}: Data Management does not say which files it has; name its files"
            )
        try:
            size, checksums = checked_size(about.get("bytes"), text), checked_checksums(about, text)
        except ValueError as error:
            return Absent(f"{self.name} is wrong about {error}")
        replicas = tuple(_replicas(places, areas))[:REPLICAS_MAX]
        return DataSet(text, (DataFile(file_name(did.name), size, checksums, replicas),), is_file=True)

    async def _storage_areas(self) -> Mapping[str, str]:
        """Return the path at which each storage area begins, by its id.

        What was read before is used while Site Capabilities does not answer.
        """
        if self.settings.capabilities is None or time.monotonic() < self._areas_until:
            return self._areas
        token = self.settings.capabilities_token
        headers = {"accept": "application/json"} | (
            {"authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}
        )
        try:
            storages = await read_json(self.http, "GET", f"{self.settings.capabilities}/storages", headers=headers)
            listed = await read_json(self.http, "GET", f"{self.settings.capabilities}/storage-areas", headers=headers)
        except CatalogueFault as error:
            log.warning("Site Capabilities can't be asked", catalogue=self.name, problem=str(error))
            self._areas_until = time.monotonic() + RETRY_SECONDS
            return self._areas
        self._areas = storage_area_paths(storages, listed)
        self._areas_until = time.monotonic() + AREAS_SECONDS
        return self._areas


def storage_area_paths(storages: Any, areas: Any) -> dict[str, str]:
    """Return the absolute path of each storage area by its id; entries that make no sense are left out."""
    bases: dict[str, str] = {}
    owners: dict[str, str] = {}
    for storage in storages if isinstance(storages, list) else ():
        if not isinstance(storage, dict):
            continue
        bases[str(storage.get("id"))] = str(storage.get("base_path") or "")
        for area in storage.get("areas") or ():
            if isinstance(area, dict):
                owners[str(area.get("id"))] = str(storage.get("id"))
    paths = {}
    for area in areas if isinstance(areas, list) else ():
        if not isinstance(area, dict) or not area.get("id"):
            continue
        name = str(area["id"])
        base = bases.get(str(area.get("associated_storage_id") or owners.get(name, "")))
        if base is not None:
            parts = (base.strip("/"), str(area.get("relative_path") or "").strip("/"))
            paths[name] = "".join(f"/{part}" for part in parts if part) + "/"
    return paths


def _replicas(places: list[Any], areas: Mapping[str, str]) -> list[Replica]:
    replicas = []
    for place in places[:REPLICAS_MAX]:
        if not isinstance(place, dict):
            continue
        area = str(place.get("associated_storage_area_id") or place.get("identifier") or "")
        urls = place.get("replicas")
        for url in urls[:REPLICAS_MAX] if isinstance(urls, list) else ():
            if isinstance(url, str):
                replicas.append(Replica(area, url, _below(url, areas.get(area, ""))))
    return replicas


def _below(url: str, base: str) -> str:
    """Return the path of a URL below a storage area; empty if it is not there."""
    try:
        path = urlsplit(url).path
        return checked_path(path[len(base) :], url) if base and path.startswith(base) else ""
    except ValueError:
        return ""


SRCNET = CatalogueKind("srcnet", SrcNetSettings, SrcNetCatalogue)
