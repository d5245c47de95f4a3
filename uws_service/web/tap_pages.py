"""The query page of a TAP service, and its tables as a page.

A query runs at once, and becomes a job by itself when it takes long. Without a script the page is a form; with it the
same answer is put into the page that is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.domain.errors import AuthenticationRequired, NotFound, TooManyRequests, UwsError
from uws_service.domain.ids import new_id
from uws_service.domain.search import Search
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.service.selection import Selection
from uws_service.tap.pool import QueryFailed
from uws_service.web import table_pages
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.faces.tap import TapHandlers
from uws_service.web.faces.tap_answer import Answer
from uws_service.web.intake import Posted, job_request, posted
from uws_service.web.job_handlers import query_values
from uws_service.web.job_view import job_urls
from uws_service.web.replies import NO_STORE, see_other
from uws_service.web.resource import Resource
from uws_service.web.table_pages import Entries, QueryState

PATIENCE_SECONDS = 5
"""Seconds that a query of the page has before it becomes a job."""
FIRST_ROWS = 100
HISTORY_JOBS = 12
UPLOADS = 2
PAGE_FIELDS = frozenset({"ACTION", "X", "Y", *(f"NAME{number}" for number in range(1, UPLOADS + 1))})


class TapPages:
    """Handlers of ``/{application}/query``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.backend = backend
        self.service = backend.service
        self.selection = Selection(backend.service)
        tap = faces.handlers["tap"]
        assert isinstance(tap, TapHandlers)
        self.tap = tap

    def _application(self, request: Request) -> Application:
        application = self.service.application(request.path_params["application"])
        if application.name not in self.backend.queries:
            raise NotFound(f"The application {application.name!r} takes no queries.")
        return application

    async def show(self, request: Request) -> Response:
        """GET /query: the page, with QUERY in its editor."""
        application = self._application(request)
        values = query_values(request)
        entries = Entries(query=(values.get("QUERY") or [""])[0], maxrec=(values.get("MAXREC") or [""])[0])
        return await self._page(request, application, QueryState(entries))

    async def run(self, request: Request) -> Response:
        """POST /query: the result as a page or JSON; 303 to a job if it takes longer, or if ACTION=SAVE."""
        application, call = self._application(request), call_of(request)
        job_id = new_id(self.service.clock())
        as_page = negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"
        async with AsyncExitStack() as stack:
            form = await stack.enter_async_context(
                posted(request, self.backend.uploads, self.backend.limits, job_id, leave_out_empty=True)
            )
            entries = _entries(form)
            query = _query_of(form)
            if (form.word("ACTION") or "RUN").upper() != "SAVE":
                counted = self.tap.counted(call.identity, call.origin)
                try:
                    overview = await Answer(self.backend, request, application).overview(
                        query, counted, PATIENCE_SECONDS, FIRST_ROWS
                    )
                except TimeoutError:
                    pass
                except UwsError as error:
                    await self._forget(job_id)
                    if not as_page or not _is_of_the_query(error):
                        raise
                    return await self._page(request, application, QueryState(entries, error=error), error.status)
                else:
                    await self._forget(job_id)
                    call.waited = True
                    if not as_page:
                        return JSONResponse(overview, headers=NO_STORE)
                    return await self._page(request, application, QueryState(entries, overview))
            job, _ = await self.service.create(application, call.caller, job_request(query, run=True), job_id=job_id)
        return see_other(job_urls(call, application.name).job(job.id))

    async def _forget(self, job_id: str) -> None:
        """Remove the files of a form that has made no job."""
        await self.backend.depot.delete_prefix(f"jobs/{job_id}/")

    async def _page(self, request: Request, application: Application, state: QueryState, status: int = 200) -> Response:
        call = call_of(request)
        queries = self.backend.queries[application.name]
        tables = table_pages.tree(await asyncio.to_thread(queries.published))
        page = table_pages.query_page(
            application, tables, state, await self._history(request, application), call.base, account_of(request)
        )
        return Response(page, status, {**NO_STORE, **table_pages.HEADERS}, "text/html")

    async def _history(self, request: Request, application: Application) -> list[table_pages.Past]:
        """Return the caller's last queries that were jobs."""
        caller = call_of(request).caller
        try:
            self.backend.rules.require_owner(caller.identity)
        except AuthenticationRequired:
            return []
        page = await self.selection.page(caller, Search(application=application.name), None, HISTORY_JOBS)
        past = []
        for row in page.rows:
            try:
                job = await self.service.get(application.name, row.id, caller)
            except NotFound:  # deleted just now
                continue
            query = next((item.value for item in job.parameters if item.name.upper() == "QUERY"), "")
            past.append(table_pages.Past(row, query))
        return past

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/query": Resource(
            "query",
            Policy.USE,
            get=(show, "The page on which one writes queries (`QUERY`); 404 if the application is no TAP service."),
            post=(
                run,
                "`QUERY`, `MAXREC` and tables: columns, first rows, count and a sample of all rows, as JSON or a page; "
                "303 to a job if that takes more than 5 s, or if `ACTION=SAVE`.",
            ),
        ),
    }


def _is_of_the_query(error: UwsError) -> bool:
    """Return whether the page tells an error beside the query."""
    return error.status == 400 or isinstance(error, QueryFailed | TooManyRequests)


def _entries(form: Posted) -> Entries:
    words = {name.upper(): value for name, value in form.fields}
    names = tuple(words.get(f"NAME{number}", "") for number in range(1, UPLOADS + 1))
    return Entries(words.get("QUERY", ""), words.get("MAXREC", ""), words.get("X", ""), words.get("Y", ""), names)


def _query_of(form: Posted) -> Posted:
    """Return what the page's form means in TAP's words: each named file is an UPLOAD (D-026)."""
    words = {name.upper(): value for name, value in form.fields}
    fields = [pair for pair in form.fields if pair[0].upper() not in PAGE_FIELDS]
    if "LANG" not in words:
        fields.append(("LANG", "ADQL"))
    files = {file.name.upper(): file for file in form.files}
    for number in range(1, UPLOADS + 1):
        file = files.get(f"FILE{number}")
        if file is not None:
            name = words.get(f"NAME{number}") or f"table{number}"
            fields.append(("UPLOAD", f"{name},param:{file.name}"))
    return replace(form, fields=tuple(fields))
