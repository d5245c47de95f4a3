"""The record of a job: its provenance, and its crate (P-030…P-043)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import ClassVar, NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.offload import offload
from uws_service.protocol import negotiation
from uws_service.protocol.crate import MEDIA_TYPE, METADATA, CrateFile, Publisher, crate_json, input_path, result_path
from uws_service.protocol.provenance import (
    BYTES_MAX,
    FILE,
    Detail,
    Graph,
    JobRecord,
    add_internal,
    add_job,
    prov_json,
    prov_n,
)
from uws_service.service.backend import Backend
from uws_service.service.records import Records
from uws_service.web.call import call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.job_handlers import JobHandlers, JobPath, query_value, query_values
from uws_service.web.picture import picture
from uws_service.web.replies import NO_STORE, job_weight
from uws_service.web.resource import Resource
from uws_service.web.zipped import Member, zip_chunks

HAS_PROVENANCE = "http://www.w3.org/ns/prov#has_provenance"
FORMATS: Mapping[str, str] = {
    "PROV-JSON": "application/json",
    "PROV-N": "text/provenance-notation",
    "PROV-SVG": "image/svg+xml",
}
"""OPUS's names of the forms, with their media types."""
_CRATE_TYPE = "application/ld+json"


def provenance_link(job_url: str, result_url: str) -> str:
    """Return the value of a Link header that leads from a result to its provenance (PROV-AQ §3.1)."""
    return f'<{job_url}/provenance>; rel="{HAS_PROVENANCE}"; anchor="{result_url}"'


def chosen_format(query: dict[str, list[str]], accept: str | None, offered: Mapping[str, str]) -> str:
    """Return the name of the form that RESPONSEFORMAT, or else the Accept header, asks for (D-024).

    Raises
    ------
    UsageError
        RESPONSEFORMAT is none of the offered names and media types.
    """
    requested = query_value(query, "RESPONSEFORMAT")
    if not requested:
        types = {media_type: name for name, media_type in offered.items()}
        return types[negotiation.best(accept, tuple(types))]
    for name, media_type in offered.items():
        if requested.strip().lower() in (name.lower(), media_type):
            return name
    names = ", ".join(f"{name} ({media_type})" for name, media_type in offered.items())
    raise UsageError(f"RESPONSEFORMAT={requested[:40]!r} is not offered; offered: {names}.")


class Internal(NamedTuple):
    """The content of the result that a job's own code has written about its provenance."""

    result_id: str
    content: bytes


class Provenance(JobHandlers):
    """Handlers of ``{job}/provenance`` and ``{job}/crate``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        super().__init__(backend, faces)
        self.records = Records(backend.service)
        publishing = backend.publishing
        self.publisher = Publisher(publishing.publisher, publishing.publisher_url, publishing.licence)

    async def _record(self, request: Request) -> JobRecord:
        path = JobPath.of(request)
        return await self.records.record(path.application, path.job_id, call_of(request).caller)

    async def provenance(self, request: Request) -> Response:
        """GET {job}/provenance: PROV-JSON, PROV-N or a picture."""
        record = await self._record(request)
        base = call_of(request).base
        accept = request.headers.get("accept")
        form = chosen_format(query_values(request), accept, {**FORMATS, "RO-CRATE": _CRATE_TYPE})
        weight = job_weight(record.job)
        if form == "RO-CRATE":
            return await self._metadata(record, base)
        if form == "PROV-SVG":
            headers = {**NO_STORE, "content-security-policy": "sandbox; default-src 'none'", "vary": "accept"}
            return Response(await offload(weight, picture, record, base), 200, headers, FORMATS[form])
        internal = await self._internal(record) if form == "PROV-JSON" else None
        weight += len(internal.content) if internal is not None else 0
        body = await offload(weight, _document, record, base, form, internal)
        return Response(body, 200, {**NO_STORE, "vary": "accept"}, FORMATS[form])

    async def _internal(self, record: JobRecord) -> Internal | None:
        """Return what the job's own code says of its provenance (P-014); None if it says nothing."""
        result = record.internal(FILE)
        if result is None or not await self._is_there(CrateFile(FILE, result.key, result.size)):
            return None
        content = bytearray()
        async for chunk in self.backend.depot.read(result.key):
            content += chunk
            if len(content) > BYTES_MAX:
                break
        return Internal(result.id, bytes(content))

    async def crate(self, request: Request) -> Response:
        """GET {job}/crate: the metadata of a crate whose files are on the web (P-040)."""
        return await self._metadata(await self._record(request), call_of(request).base)

    async def _metadata(self, record: JobRecord, base: str) -> Response:
        body = await offload(job_weight(record.job), crate_json, record, base, self.publisher)
        return Response(body, 200, {**NO_STORE, "vary": "accept"}, MEDIA_TYPE)

    async def crate_zip(self, request: Request) -> Response:
        """GET {job}/crate.zip: the crate with its files, made while it is sent."""
        record = await self._record(request)
        job = record.job
        files = [file for file in _files(record) if await self._is_there(file)]
        body = await offload(job_weight(job), crate_json, record, call_of(request).base, self.publisher, files)
        headers = {
            **NO_STORE,
            "content-disposition": f'attachment; filename="{job.application}-{job.id}.crate.zip"',
            "content-security-policy": "sandbox; default-src 'none'",
        }
        if request.method == "HEAD":
            return Response(b"", 200, headers, "application/zip")
        members = [Member(METADATA, partial(_single, body))]
        members += [Member(file.path, partial(self.backend.depot.read, file.key)) for file in files]
        at = job.ended if job.ended is not None else job.created
        return StreamingResponse(zip_chunks(members, at), 200, headers, "application/zip")

    async def _is_there(self, file: CrateFile) -> bool:
        stored = await self.backend.depot.head(file.key)
        return stored is not None and stored.size == file.size

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/provenance": Resource(
            "provenance",
            Policy.READ,
            get=(
                provenance,
                "Where the results of an ended job came from: W3C PROV with the classes of IVOA's ProvDM. "
                "`RESPONSEFORMAT` or `Accept`: `PROV-JSON`, `PROV-N`, `PROV-SVG`. 404 before its end.",
            ),
        ),
        "/{job_id}/crate": Resource(
            "crate",
            Policy.READ,
            get=(crate, "The metadata of the job as an RO-Crate (Process Run Crate 0.5); its files are links."),
        ),
        "/{job_id}/crate.zip": Resource(
            "crate-zip",
            Policy.READ,
            get=(crate_zip, "The same crate as a ZIP archive, with the results and the uploaded files."),
        ),
    }


def _document(record: JobRecord, base: str, form: str, internal: Internal | None) -> bytes:
    graph = Graph(base)
    add_job(graph, record, Detail())
    if internal is not None:
        add_internal(graph, record, internal.result_id, internal.content)
    return prov_n(graph) if form == "PROV-N" else prov_json(graph)


def _files(record: JobRecord) -> list[CrateFile]:
    """Return the files of the depot that belong into a crate: results, and uploads that were inputs."""
    job = record.job
    files = [CrateFile(result_path(item.id), item.key, item.size) for item in job.results if not item.location]
    for item in record.inputs():
        upload = record.upload_of(item)
        if upload is not None and upload.upload is not None:
            files.append(CrateFile(input_path(item), upload.upload, upload.size or 0))
    return list({file.path: file for file in files}.values())


async def _single(body: bytes) -> AsyncIterator[bytes]:
    yield body
