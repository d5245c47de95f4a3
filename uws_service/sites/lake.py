"""Results into the data lake: uploaded to the site's storage area, registered in a catalogue.

Each step can be repeated: an upload replaces the same file, and what is registered already with the same size and
checksum is no error. So a service that is killed in between goes on, and nothing is registered twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

from uws_service.applications import Application
from uws_service.applications.model import ResultSpec
from uws_service.auth.data_tokens import DataAccess
from uws_service.data.answers import CatalogueFault, open_client
from uws_service.data.catalogue import Catalogue
from uws_service.data.deposit import upload
from uws_service.data.identifiers import Did, file_name, parse_did
from uws_service.data.replicas import Storage, fetch_url
from uws_service.depot import Depot
from uws_service.domain.errors import UwsError
from uws_service.domain.job import Job, Result
from uws_service.protocol.provenance import Graph, JobRecord, add_job, prov_json

log = structlog.get_logger(__name__)

PAUSES_SECONDS = (1.0, 5.0, 20.0)
"""Before a result is tried again that can't be put into the lake for a reason that may pass."""
UPLOAD_TIMEOUT_SECONDS = 60.0


class File(NamedTuple):
    """A file for the lake.

    The end of its name, bytes, and what opens it.
    """

    name: str
    size: int
    read: Callable[[], AsyncIterator[bytes]]


class Lake:
    """Puts results into the data lake.

    Parameters
    ----------
    catalogue
        Registers them.
    storage
        The storage areas of each site.
    data
        The jobs' tokens for the storage and the catalogue; None: there are none.
    base
        The service's public URL without a slash at the end, if the provenance of jobs goes into the lake too.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        depot: Depot,
        storage: Mapping[str, Sequence[Storage]],
        data: DataAccess | None = None,
        base: str = "",
    ) -> None:
        self.base = base
        self.catalogue = catalogue
        self.depot = depot
        self.storage = storage
        self.data = data
        self.http = open_client(UPLOAD_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        await self.http.aclose()

    async def deposit(
        self, job: Job, application: Application, site: str, results: Sequence[Result]
    ) -> tuple[tuple[Result, ...], tuple[str, ...]]:
        """Return the results, those in the lake with their location, and why others are not there.

        ``job`` is as it will be recorded, but for where its results lie.
        """
        places: list[Result] = []
        problems: list[str] = []
        pauses: Sequence[float] = PAUSES_SECONDS
        for result in results:
            spec = spec_of(application, result.id)
            if spec is None or not spec.lake:
                places.append(result)
                continue
            try:
                places.append(await self._insist(job, spec.lake, site, result, pauses))
            except (CatalogueFault, UwsError, ValueError) as error:
                pauses = ()  # a lake that is down is waited for once, not for each result
                problem = getattr(error, "message", str(error)).rstrip(".")
                log.warning("a result is not in the lake", job=job.id, result=result.id, problem=problem)
                problems.append(f"The result {result.id} is not in the data lake, but kept here: {problem}.")
                places.append(result)
        scopes = [spec.lake for place in places if place.location and (spec := spec_of(application, place.id))]
        if self.base and scopes:
            problem = await self._record(replace(job, results=tuple(places)), scopes[0], site)
            problems += [problem] if problem else []
        return tuple(places), tuple(problems)

    async def discard(self, results: Sequence[Result]) -> None:
        """Remove the copies of results that are in the lake."""
        for result in results:
            if result.location:
                try:
                    await self.depot.delete(result.key)
                except UwsError as error:  # it goes with the job
                    log.info("a copy of a result stays", key=result.key, reason=error.message)

    async def _record(self, job: Job, scope: str, site: str) -> str:
        """Put the provenance of a job beside its results; return why it is not there."""
        graph = Graph(self.base)
        add_job(graph, JobRecord(job))
        body = prov_json(graph)

        async def read() -> AsyncIterator[bytes]:
            yield body

        try:
            await self._put(job, scope, site, File("provenance.json", len(body), read))
        except (CatalogueFault, UwsError, ValueError) as error:
            problem = getattr(error, "message", str(error)).rstrip(".")
            log.warning("a job's provenance is not in the lake", job=job.id, problem=problem)
            return f"The provenance is not in the data lake: {problem}."
        return ""

    async def _insist(self, job: Job, scope: str, site: str, result: Result, pauses: Sequence[float]) -> Result:
        file = File(file_name(result.id), result.size, partial(self.depot.read, result.key))
        for pause in pauses:
            try:
                return replace(result, location=await self._put(job, scope, site, file))
            except CatalogueFault as error:
                if not error.transient:
                    raise
            await asyncio.sleep(pause)
        return replace(result, location=await self._put(job, scope, site, file))

    async def _put(self, job: Job, scope: str, site: str, file: File) -> str:
        """Upload and register a file; return its URL."""
        area = next((entry.area for entry in self.storage.get(site, ()) if entry.takes_results), None)
        if area is None:
            raise CatalogueFault(f"the site {site} has no storage area for results", transient=False)
        did = parse_did(scope, f"{job.application}-{job.id}-{file.name}")
        dataset = Did(scope, f"{job.application}-{job.id}")
        tokens = await self.data.held(job.id) if self.data is not None else {"tokens": {}}
        names = await self.data.catalogue_tokens(job.id) if self.data is not None else {}
        token = names.get(self.catalogue.name)
        place = await self.catalogue.upload_url(area, did, token)
        url = fetch_url(place)
        if not url:
            raise CatalogueFault(f"the storage area {area} takes no files by https or WebDAV", transient=False)
        deposited = await upload(self.http, url, file.read, file.size, tokens["tokens"])
        if deposited.size != file.size:
            raise CatalogueFault(f"{deposited.size} bytes were sent instead of {file.size}")
        await self.catalogue.register(area, did, deposited.size, deposited.checksums, dataset, token)
        return url


def spec_of(application: Application, result_id: str) -> ResultSpec | None:
    """Return the declared result that a result belongs to; see `Application.result`."""
    return application.result(result_id)
