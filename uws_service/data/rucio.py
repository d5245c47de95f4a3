"""The catalogue of a Rucio server, by its REST interface.

Three requests serve hundreds of identifiers: the files of all of them, their replicas, and the types of those that
have no files. What the server says is checked: a name, size or checksum that makes no sense makes its file unusable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from uws_service.data.answers import CatalogueFault, TooMuch, open_client, read_body, read_json, read_lines
from uws_service.data.catalogue import Absent, Brought, Catalogue, CatalogueKind, Outcome, did_of
from uws_service.data.identifiers import Did, Identifier, parse_did
from uws_service.data.replicas import REPLICAS_MAX, checked_checksums, checked_path, checked_size
from uws_service.data.rucio_login import RucioLogin
from uws_service.data.rucio_rules import RucioRules
from uws_service.data.settings import RemoteCatalogue, check_remote_url
from uws_service.domain.dataset import DataFile, DataSet, Replica
from uws_service.units import Seconds

BULK = 500
"""Identifiers of one request."""
Scheme = Literal["https", "davs", "http", "dav", "root", "file"]
SCHEMES: tuple[Scheme, ...] = ("https", "davs", "http", "dav")
AREAS_SECONDS = 600.0
"""So long the protocols of a storage element are used again."""
STREAM = "application/x-json-stream"


class RucioCatalogueSettings(RemoteCatalogue):
    """A Rucio server."""

    kind: Literal["rucio"] = Field(description="`rucio`: a Rucio server.")
    account: str | None = Field(None, description="The service's Rucio account.")
    username: str | None = Field(None, description="The service's user name, for a login with a password.")
    password: SecretStr | None = Field(None, description="Its password.")
    auth_url: str | None = Field(None, description="The server for logins. Unset: the same as `url`.")
    token: SecretStr | None = Field(None, description="A Rucio token of the service, instead of a login.")
    caller_audience: str | None = Field(
        None,
        min_length=1,
        description="Ask in the callers' names: the audience of the tokens that the issuer gives in exchange for "
        "theirs.",
    )
    caller_scopes: tuple[str, ...] = Field((), description="The scopes of these tokens.")
    schemes: tuple[Scheme, ...] = Field(
        SCHEMES,
        min_length=1,
        description="Schemes of the replicas that are asked for. What is neither https nor "
        "davs nor http nor dav can only be mounted.",
    )

    rule_lifetime: Seconds = Field(
        7 * 86400,
        ge=3600,
        description="How long data stay that are brought to a site, from the start of the latest job that needs them.",
    )

    @field_validator("auth_url")
    @classmethod
    def _auth_url(cls, value: str | None) -> str | None:
        return check_remote_url(value) if value is not None else None

    @model_validator(mode="after")
    def _one_way(self) -> RucioCatalogueSettings:
        ways = [self.token is not None, self.username is not None, self.caller_audience is not None]
        if sum(ways) != 1:
            raise ValueError("give one of username (with password and account), token, and caller_audience")
        if self.username is not None and (self.password is None or self.account is None):
            raise ValueError("username needs password and account")
        return self

    @property
    def audience(self) -> str | None:
        """Return the audience of the callers' tokens."""
        return self.caller_audience

    @property
    def token_scopes(self) -> tuple[str, ...]:
        """Return the scopes of the callers' tokens."""
        return self.caller_scopes


class RucioCatalogue(Catalogue):
    """The data sets of a Rucio server."""

    settings: RucioCatalogueSettings

    def __init__(self, settings: RucioCatalogueSettings) -> None:
        super().__init__(settings)
        self.http = open_client(settings.timeout)
        self.login = RucioLogin(self.http, settings)
        self.rules = RucioRules(self.http, self.login, settings.url, settings.account, settings.rule_lifetime)
        self._prefixes: dict[str, tuple[float, tuple[tuple[str, str, str], ...]]] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self.http.aclose()

    async def find(self, identifiers: Sequence[Identifier], token: str | None) -> Mapping[str, Outcome]:
        """Return what the server knows, some hundred identifiers at a time."""
        named = {
            identifier.text: did
            for identifier in identifiers
            if (did := did_of(identifier, self.settings.ivo)) is not None
        }
        dids = list(dict.fromkeys(named.values()))
        by_did: dict[Did, Outcome] = {}
        for start in range(0, len(dids), BULK):
            by_did |= await self._find_some(dids[start : start + BULK], token)
        return {text: _renamed(by_did[did], text) for text, did in named.items()}

    async def _find_some(self, dids: Sequence[Did], token: str | None) -> dict[Did, Outcome]:
        try:
            return await self._find_bulk(dids, token)
        except TooMuch as error:
            if len(dids) == 1:
                return {dids[0]: Absent(f"{dids[0].scope}:{dids[0].name}: {error}")}
            half = len(dids) // 2
            return await self._find_some(dids[:half], token) | await self._find_some(dids[half:], token)

    async def _find_bulk(self, dids: Sequence[Did], token: str | None) -> dict[Did, Outcome]:
        body = [{"scope": did.scope, "name": did.name} for did in dids]
        contents: dict[Did, list[Did]] = {}
        for line in await self._lines("dids/bulkfiles", {"dids": body}, token):
            parent, child = _did(line, "parent_"), _did(line)
            if parent is not None and child is not None:
                contents.setdefault(parent, []).append(child)
        replicas: dict[Did, DataFile | str] = {}
        existing = [{"scope": did.scope, "name": did.name} for did in dids if did in contents]
        question = {"dids": existing, "schemes": list(self.settings.schemes), "resolve_archives": False}
        if contents:
            for line in await self._lines("replicas/list", question, token):
                if (did := _did(line)) is not None:
                    replicas[did] = await self._file(did, line, token)
        kinds = await self._kinds([did for did in dids if did not in contents], token)
        return {did: _outcome(did, contents.get(did), replicas, kinds) for did in dids}

    async def _kinds(self, dids: Sequence[Did], token: str | None) -> dict[Did, str]:
        """Return the types of identifiers that have no files; those that do not exist are left out."""
        if not dids:
            return {}
        body = {"dids": [{"scope": did.scope, "name": did.name} for did in dids], "plugin": "DID_COLUMN"}
        try:
            lines = await self._lines("dids/bulkmeta", body, token)
        except CatalogueFault as error:
            if error.status == 404:
                return {}
            raise
        return {
            did: str(line.get("did_type")) for line in lines if (did := _did(line)) is not None and line.get("did_type")
        }

    async def _lines(self, path: str, body: Mapping[str, Any], token: str | None) -> list[Mapping[str, Any]]:
        return await self.login.call(
            token,
            lambda headers: read_lines(
                self.http,
                "POST",
                f"{self.settings.url}/{path}",
                json=body,
                headers={**headers, "accept": STREAM},
            ),
        )

    async def _file(self, did: Did, line: Mapping[str, Any], token: str | None) -> DataFile | str:
        """Return a file, or why it can't be used."""
        place = f"{did.scope}:{did.name}"
        try:
            size = checked_size(line.get("bytes"), place)
            checksums = checked_checksums(line, place)
        except ValueError as error:
            return f"{self.name} is wrong about {error}"
        pfns = line.get("pfns")
        replicas = []
        states = line.get("states")
        states = states if isinstance(states, dict) else {}
        for pfn, entry in list(pfns.items())[:REPLICAS_MAX] if isinstance(pfns, dict) else ():
            area = entry.get("rse") if isinstance(entry, dict) else None
            if not isinstance(pfn, str) or not isinstance(area, str) or states.get(area, "AVAILABLE") != "AVAILABLE":
                continue
            replicas.append(Replica(area, pfn, await self._path(area, pfn, token)))
        return DataFile(did.name, size, checksums, tuple(replicas))

    async def upload_url(self, area: str, did: Did, token: str | None) -> str:
        """Return where a storage element takes a new file."""
        lfn = f"{did.scope}:{did.name}"
        for scheme in self.settings.schemes:
            query = urlencode({"lfn": lfn, "operation": "write", "domain": "wan", "scheme": scheme})
            url = f"{self.settings.url}/rses/{quote(area, safe='')}/lfns2pfns?{query}"
            try:
                answer = await self._call(token, "GET", url)
            except CatalogueFault as error:
                if error.status in (400, 404, 500) and scheme != self.settings.schemes[-1]:
                    continue  # the element has no protocol of this scheme
                raise
            if isinstance(answer, dict) and isinstance(answer.get(lfn), str):
                return str(answer[lfn])
        raise CatalogueFault(f"{self.name} names no place for files at {area}", transient=False)

    async def bring(self, area: str, identifier: Identifier, token: str | None) -> Brought:
        """Ask for copies at a storage element, by a rule of the account that asks."""
        did = did_of(identifier, self.settings.ivo)
        if did is None:
            raise CatalogueFault(f"{identifier.text} has no scope and name in {self.name}", transient=False)
        return await self.rules.bring(area, did, token)

    async def register(
        self, area: str, did: Did, size: int, checksums: Mapping[str, str], dataset: Did, token: str | None
    ) -> None:
        """Register a file at a storage element, in a dataset that is made if need be."""
        digests = {kind: text for kind, text in checksums.items() if kind in ("md5", "adler32")}
        file = {"scope": did.scope, "name": did.name, "bytes": size, **digests}
        url = self.settings.url
        replica = {"rse": area, "files": [file], "ignore_availability": True}
        await self._create(token, f"{url}/replicas", replica)
        await self._require_same(area, did, size, digests, token)  # what was there is left as it is, without an error
        place = f"{url}/dids/{quote(dataset.scope, safe='')}/{quote(dataset.name, safe='')}"
        await self._create(token, place, {"type": "DATASET"})
        await self._create(token, f"{place}/dids", {"dids": [{"scope": did.scope, "name": did.name}]})

    async def _create(self, token: str | None, url: str, body: Mapping[str, Any]) -> bool:
        """Return whether something was made.

        False if it was there.
        """
        try:
            await self._call(token, "POST", url, body)
        except CatalogueFault as error:
            if error.status == 409:
                return False
            raise
        return True

    async def _require_same(
        self, area: str, did: Did, size: int, checksums: Mapping[str, str], token: str | None
    ) -> None:
        """Raise unless the server has the very same file there."""
        outcome = (await self._find_bulk([did], token))[did]
        for file in outcome.files if isinstance(outcome, DataSet) else ():
            is_there = any(replica.area == area for replica in file.replicas)
            agree = all(checksums.get(kind, text) == text for kind, text in file.checksums.items())
            if is_there and agree and file.size == size:
                return
        raise CatalogueFault(f"{did.scope}:{did.name} is registered already, with other bytes", transient=False)

    async def _call(self, token: str | None, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of an answer.

        None if it is none.
        """

        async def ask(headers: dict[str, str]) -> Any:
            text = await read_body(self.http, method, url, headers=headers, json=body)
            try:
                return json.loads(text)
            except ValueError:
                return None

        return await self.login.call(token, ask)

    async def _path(self, area: str, pfn: str, token: str | None) -> str:
        """Return a replica's path below its storage element.

        Empty if that can't be told.
        """
        parts = urlsplit(pfn)
        for scheme, host, prefix in await self._area(area, token):
            if parts.scheme == scheme and (parts.hostname or "") == host and parts.path.startswith(prefix):
                try:
                    return checked_path(parts.path[len(prefix) :], area)
                except ValueError:
                    return ""
        return ""

    async def _area(self, area: str, token: str | None) -> tuple[tuple[str, str, str], ...]:
        """Return scheme, host and prefix of the protocols of a storage element."""
        entry = self._prefixes.get(area)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        try:
            answer = await self.login.call(
                token,
                lambda headers: read_json(
                    self.http, "GET", f"{self.settings.url}/rses/{quote(area, safe='')}", headers=headers
                ),
            )
        except CatalogueFault as error:
            if error.transient:
                raise
            answer = {}
        protocols = answer.get("protocols") if isinstance(answer, dict) else None
        prefixes = tuple(
            (
                str(item.get("scheme")),
                str(item.get("hostname")),
                f"/{str(item.get('prefix') or '').strip('/')}".rstrip("/") + "/",
            )
            for item in protocols or ()
            if isinstance(item, dict)
        )
        self._prefixes[area] = (time.monotonic() + AREAS_SECONDS, prefixes)
        return prefixes


def _did(line: Mapping[str, Any], prefix: str = "") -> Did | None:
    scope, name = line.get(f"{prefix}scope"), line.get(f"{prefix}name")
    if not isinstance(scope, str) or not isinstance(name, str):
        return None
    try:
        return parse_did(scope, name)
    except ValueError:
        return None


def _outcome(
    did: Did, children: Sequence[Did] | None, replicas: Mapping[Did, DataFile | str], kinds: Mapping[Did, str]
) -> Outcome:
    text = f"{did.scope}:{did.name}"
    if children is None:
        if did in kinds:
            return DataSet(text)
        return Absent(f"{text} is not known to the catalogue, or not yours to see")
    files = []
    for child in dict.fromkeys(children):
        file = replicas.get(child, DataFile(child.name))
        if isinstance(file, str):
            return Absent(file)
        files.append(file)
    return DataSet(text, tuple(files), is_file=list(children) == [did])


def _renamed(outcome: Outcome, text: str) -> Outcome:
    return DataSet(text, outcome.files, outcome.is_file) if isinstance(outcome, DataSet) else outcome


RUCIO = CatalogueKind("rucio", RucioCatalogueSettings, RucioCatalogue, registers=True, brings=True)
