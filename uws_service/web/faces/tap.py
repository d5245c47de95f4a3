"""TAP: synchronous queries without a job, and its documents.

A query is checked like a job's parameters and counts against its caller's quota of running jobs while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from uws_service.applications import Application, Checked, check
from uws_service.applications.parameters import single_value
from uws_service.applications.provenance import unknown_parameters
from uws_service.auth import Identity
from uws_service.auth.policy import Policy
from uws_service.auth.quotas import party_of
from uws_service.domain.errors import NotFound, ServiceUnavailable, TooManyRequests, UsageError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.offload import offload
from uws_service.protocol import dali
from uws_service.service.backend import Backend
from uws_service.tap import Queries, descriptor, documents
from uws_service.tap.pool import GRACE_SECONDS, Process
from uws_service.tap.preview_read import MAX_PREVIEW_BYTES, parse_preview
from uws_service.tap.spool import Spool
from uws_service.tap.upload_fetch import fetch_upload
from uws_service.web import pages
from uws_service.web.call import call_of
from uws_service.web.faces.base import Face, FaceHandlers
from uws_service.web.intake import Posted, disconnected, posted, run_id_of
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
CONTROL = frozenset({"PHASE", "RUNID", "DESTRUCTION", "EXECUTIONDURATION"})


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
        filling = asyncio.create_task(answer.fill(spool, self._counted(call.identity, call.origin)))
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
    async def _counted(self, identity: Identity, origin: str) -> AsyncIterator[None]:
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
        """GET /tables: with columns unless ``detail=min`` (V-030, V-031)."""
        application = self._application(request)
        values = [value.lower() for name, value in request.query_params.multi_items() if name.upper() == "DETAIL"]
        detail = single_value("DETAIL", values) or "max"
        if detail not in ("min", "max"):
            raise UsageError(f"DETAIL={detail[:20]!r} is not known; allowed: min, max.")
        queries = self.backend.queries[application.name]
        document = await asyncio.to_thread(_tables_document, queries, columns=detail == "max")
        return Response(document, 200, NO_CACHE, XML)

    async def table(self, request: Request) -> Response:
        """GET /tables/{name}: one table in full (V-031)."""
        application = self._application(request)
        published = await asyncio.to_thread(self.backend.queries[application.name].published)
        document = await asyncio.to_thread(documents.table_xml, published, request.path_params["name"])
        if document is None:
            raise NotFound(f"There is no table {request.path_params['name'][:140]!r}; /tables lists them.")
        return Response(document, 200, NO_CACHE, XML)

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


class Answer:
    """One synchronous query on its way.

    Parameters
    ----------
    form
        What the client posts, not read yet.
    """

    def __init__(
        self, backend: Backend, request: Request, application: Application, form: AbstractAsyncContextManager[Posted]
    ) -> None:
        self.backend, self.request, self.application, self.form = backend, request, application, form
        self.caller = _caller(request)
        self.media_type = "application/octet-stream"
        self.notes: tuple[str, ...] = ()

    async def fill(self, spool: Spool, counted: AbstractAsyncContextManager[None]) -> None:
        """Put the result, or what went wrong, into the spool.

        The process is free again when all of it is there.
        """
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(counted)
                await self._fill(spool, stack)
        except Exception as error:
            spool.end(error)
        except BaseException:
            spool.end(ServiceUnavailable("The service is about to end."))
            raise
        else:
            spool.end()

    async def _fill(self, spool: Spool, stack: AsyncExitStack) -> None:
        seconds = self.application.limits.sync_duration
        queries = self.backend.queries[self.application.name]
        form = await stack.enter_async_context(self.form)
        if form.files:
            folder = str(form.files[0].upload).partition("/uploads/")[0] + "/"
            stack.push_async_callback(self.backend.depot.delete_prefix, folder)
        checked, notices = await offload(form.weight, _checked, self.application, form)
        self.media_type = str(checked.media_type)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds  # of all that follows, however many steps it takes
        question = await self._question(checked, queries, stack)
        process = await stack.enter_async_context(queries.pool.process(self.caller, deadline - loop.time()))
        question["seconds"] = max(1, math.ceil(deadline + process.start_seconds - loop.time()))
        process.limit(question["seconds"] + GRACE_SECONDS)
        await self._asked(process, question)
        self.notes = (*notices, *process.notes)
        async for part in process.parts():
            await spool.write(part)

    async def _asked(self, process: Process, question: dict[str, Any]) -> None:
        """Ask the process; give up when the client disconnects."""
        answer = asyncio.ensure_future(process.ask(question))
        answered, _ = await asyncio.wait((answer,), timeout=0.25)
        if not answered:
            departure = asyncio.ensure_future(disconnected(self.request))
            try:
                await asyncio.wait((answer, departure), return_when=asyncio.FIRST_COMPLETED)
            finally:
                departure.cancel()
                if not answer.done():
                    answer.cancel()
        await answer

    async def _question(self, checked: Checked, queries: Queries, stack: AsyncExitStack) -> dict[str, Any]:
        """Return the message for the process.

        Files of uploads are there by then.
        """
        files = {}
        for file_input in checked.inputs:
            draft = queries.temporary / f"upload-{secrets.token_hex(8)}"
            if file_input.url is None and self.backend.depot.folder is not None:
                files[file_input.name] = str(self.backend.depot.folder / str(file_input.depot_key))
                continue
            stack.callback(draft.unlink, missing_ok=True)
            files[file_input.name] = str(draft)
            if file_input.url is not None:
                await self._fetch(file_input.name, file_input.url, draft)
            else:
                with draft.open("wb") as file:
                    async for chunk in self.backend.depot.read(str(file_input.depot_key)):
                        await asyncio.to_thread(file.write, chunk)
        return {
            "query": checked.values["QUERY"][0],
            "form": checked.format,
            "maxrec": checked.maxrec,
            "files": files,
            "memory": self.application.resources.memory // 2,
        }

    async def _fetch(self, name: str, url: str, path: Path) -> None:
        seconds, fetch = self.application.limits.sync_duration, self.backend.fetch
        policy = {
            "allow_private": fetch.allow_private,
            "allow_hosts": list(fetch.allow_hosts),
            "timeout": min(fetch.timeout, seconds),
        }
        size = self.application.uploads.size if self.application.uploads is not None else 0
        await fetch_upload(name, url, path, max_size=size, policy=policy, seconds=seconds / 2, caller=self.caller)


def _caller(request: Request) -> str:
    """Return the name under which a caller shares places and room with others."""
    call = call_of(request)
    return party_of(call.identity, call.origin)


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


def _checked(application: Application, form: Posted) -> tuple[Checked, tuple[str, ...]]:
    """Return the checked parameters, and a sentence for each unknown one."""
    fields = [Parameter(name, value) for name, value in form.fields if name.upper() not in CONTROL]
    run_id = run_id_of(form)
    if run_id is not None:
        log.info("query", application=application.name, run_id=run_id)  # D-027
    parameters = [*fields, *form.files]
    return check(application, parameters), unknown_parameters(application, parameters)


TAP = Face(descriptor.TAP, TapHandlers)
