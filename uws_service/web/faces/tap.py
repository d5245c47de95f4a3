"""TAP: synchronous queries without a job, and its documents.

A query is checked like a job's parameters and counts against its caller's quota of running jobs while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from uws_service.applications import Application
from uws_service.applications.parameters import single_value
from uws_service.auth import Identity
from uws_service.auth.policy import Policy
from uws_service.auth.quotas import party_of
from uws_service.domain.errors import NotFound, ServiceUnavailable, TooManyRequests, UsageError, UwsError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Phase
from uws_service.protocol import dali, negotiation
from uws_service.service.backend import Backend
from uws_service.tap import Queries, descriptor, documents
from uws_service.tap.preview_read import MAX_PREVIEW_BYTES, parse_preview
from uws_service.tap.spool import Spool
from uws_service.web import pages, table_pages
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.base import Face, FaceHandlers
from uws_service.web.faces.tap_answer import Answer
from uws_service.web.intake import Posted, posted
from uws_service.web.note_header import note_header
from uws_service.web.resource import Resource

log = structlog.get_logger(__name__)
NO_CACHE = {"cache-control": "no-cache"}
HEADERS = {
    "cache-control": "private, no-cache",
    "content-security-policy": "sandbox; default-src 'none'",
}
XML = "text/xml"
TAKE_SECONDS = 3600.0
"""For a client to take its answer, which lies on our disk meanwhile."""
VARY = {"vary": "accept"}
SAMPLE_ROWS, SAMPLE_SECONDS = 5, 3
"""Of a table's page: how many rows it shows, and how long it waits for them."""


class TapHandlers(FaceHandlers):
    """Synchronous queries, tables, and other resources of TAP."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._running: Counter[str] = Counter()

    # --- synchronous queries ----------------------------------------------------------------------------------

    async def answer_sync(self, request: Request, application: Application) -> Response:
        """Answer with the result, without a job (D-015, T-012)."""
        call = call_of(request)
        form = posted(request, self.backend.uploads, self.backend.limits, new_id(self.backend.service.clock()))
        answer = Answer(self.backend, request, application, form)
        spool = Spool(self.backend.queries[application.name].temporary, answer.caller)
        filling = asyncio.create_task(answer.fill(spool, self.counted(call.identity, call.origin)))
        try:
            await spool.start()  # raises what is wrong with the query
        except BaseException:
            await _stop(filling, spool)
            raise
        call_of(request).waited = True
        headers = {**HEADERS, "content-type": answer.media_type, **note_header(answer.notes)}
        if (content := spool.small_answer()) is not None:
            await _stop(filling, spool)
            return Response(content, 200, headers)
        return StreamingResponse(_delivered(spool, filling), 200, headers)

    @asynccontextmanager
    async def counted(self, identity: Identity, origin: str) -> AsyncIterator[None]:
        """Count the block as one of the caller's running jobs."""
        quota = self.backend.rules.quota(identity).running if self.backend.rules.has_quotas else None
        caller = party_of(identity, origin)
        if quota is not None:
            totals = await self.backend.service.views.holding(identity.owner)
            jobs = totals.get(Phase.EXECUTING.value, (0, 0))[0]
            if jobs + self._running[caller] >= quota:
                raise TooManyRequests(
                    f"You have {jobs} jobs and {self._running[caller]} queries that run; {quota} are allowed.",
                    retry_after=5,
                )
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]

    # --- documents --------------------------------------------------------------------------------------------

    def _application(self, request: Request) -> Application:
        application = self.backend.service.application(request.path_params["application"])
        if application.name not in self.backend.queries:
            raise NotFound(f"The application {application.name!r} has no tables.")
        return application

    async def tables(self, request: Request) -> Response:
        """GET /tables: with columns unless ``detail=min`` (V-030, V-031); a page for people."""
        application = self._application(request)
        form = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        if form != "xml":
            published = await asyncio.to_thread(self.backend.queries[application.name].published)
            if form == "json":
                return JSONResponse({"tables": table_pages.tables_json(published)}, headers=NO_CACHE | VARY)
            call = call_of(request)
            page = table_pages.tables_page(application, published, call.base, account_of(request))
            return Response(page, 200, {**NO_CACHE, **table_pages.HEADERS}, "text/html")
        values = [value.lower() for name, value in request.query_params.multi_items() if name.upper() == "DETAIL"]
        detail = single_value("DETAIL", values) or "max"
        if detail not in ("min", "max"):
            raise UsageError(f"DETAIL={detail[:20]!r} is not known; allowed: min, max.")
        queries = self.backend.queries[application.name]
        document = await asyncio.to_thread(_tables_document, queries, columns=detail == "max")
        return Response(document, 200, NO_CACHE | VARY, XML)

    async def table(self, request: Request) -> Response:
        """GET /tables/{name}: one table in full (V-031); a page for people, with some of its rows."""
        application = self._application(request)
        published = await asyncio.to_thread(self.backend.queries[application.name].published)
        name = request.path_params["name"]
        document = await asyncio.to_thread(documents.table_xml, published, name)
        if document is None:
            raise NotFound(f"There is no table {name[:140]!r}; /tables lists them.")
        if negotiation.choose(request.headers.get("accept"), ("xml", "html")) == "html":
            entry = table_pages.find(published, name)
            rows = await self._first_rows(request, application, entry)
            page = table_pages.table_page(application, entry, rows, call_of(request).base, account_of(request))
            return Response(page, 200, {**NO_CACHE, **table_pages.HEADERS}, "text/html")
        return Response(document, 200, NO_CACHE | VARY, XML)

    async def _first_rows(
        self, request: Request, application: Application, entry: table_pages.TableEntry
    ) -> dict[str, Any] | None:
        """Return some rows of a table; None if they can't be read quickly."""
        call = call_of(request)
        form = Posted((("LANG", "ADQL"), ("QUERY", table_pages.sample_query(entry, SAMPLE_ROWS))))
        counted = self.counted(call.identity, call.origin)
        call.waited = True
        try:
            return await Answer(self.backend, request, application).overview(form, counted, SAMPLE_SECONDS, SAMPLE_ROWS)
        except (UwsError, TimeoutError) as error:
            log.info("no sample of a table", table=entry.table.full_name, error=str(error))
            return None

    async def capabilities(self, application: Application, base: str, methods: tuple[str, ...]) -> bytes:
        """Return the capabilities of TAPRegExt (T-002…T-004)."""
        published = await asyncio.to_thread(self.backend.queries[application.name].published)
        utypes = [entry.table.utype for entry in published]
        return documents.capabilities_xml(application, base, methods, utypes)

    def examples(self, application: Application, base: str) -> bytes:
        """Return the examples, each of them a query (T-030)."""
        return dali.examples_xhtml(application, base, query="QUERY", presets={"LANG"}, with_buttons=True)

    async def job_section(self, job: Job) -> Markup:
        """Return the first rows of a query's result."""
        small = (result for result in job.results if result.id == "preview" and result.size <= MAX_PREVIEW_BYTES)
        preview = next(small, None)
        if preview is None:
            return Markup()
        content = b"".join([chunk async for chunk in self.backend.depot.read(preview.key)])
        return await asyncio.to_thread(_preview_section, content)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/tables": Resource(
            "tables",
            Policy.USE,
            get=(tables, "VOSI tables of a TAP service, without columns if `detail=min`; else 404."),
        ),
        "/{application}/tables/{name}": Resource("table", Policy.USE, get=(table, "One of them, with its columns.")),
    }


def _preview_section(content: bytes) -> Markup:
    preview = parse_preview(content)
    return pages.preview_section(preview) if preview is not None else Markup()


def _tables_document(queries: Queries, *, columns: bool) -> bytes:
    return documents.tables_xml(queries.published(), columns=columns)


async def _delivered(spool: Spool, filling: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """Yield the answer as its client takes it.

    One that is not taken in time ends without its end.
    """
    until = asyncio.get_running_loop().time() + TAKE_SECONDS
    try:
        async for part in spool.parts():
            yield part
            if asyncio.get_running_loop().time() > until:
                raise ServiceUnavailable(f"The answer was not taken within {TAKE_SECONDS:.0f} s.")
    finally:
        await _stop(filling, spool)


async def _stop(filling: asyncio.Task[None], spool: Spool) -> None:
    filling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await filling
    spool.close()


TAP = Face(descriptor.TAP, TapHandlers)
