"""One synchronous query on its way: as a stream for programs, as an overview for pages."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request

from uws_service.applications import Application, Checked, check
from uws_service.applications.provenance import unknown_parameters
from uws_service.auth.quotas import party_of
from uws_service.domain.errors import ServiceUnavailable
from uws_service.domain.job import Parameter
from uws_service.offload import offload
from uws_service.service.backend import Backend
from uws_service.tap import Queries
from uws_service.tap.pool import GRACE_SECONDS, PoolBusy, Process, QueryBounded
from uws_service.tap.spool import Spool
from uws_service.tap.upload_fetch import fetch_upload
from uws_service.web.call import call_of
from uws_service.web.intake import Posted, disconnected, run_id_of

log = structlog.get_logger(__name__)
CONTROL = frozenset({"PHASE", "RUNID", "DESTRUCTION", "EXECUTIONDURATION"})


class Answer:
    """One synchronous query on its way.

    Parameters
    ----------
    form
        What the client posts, not read yet.
    """

    def __init__(
        self,
        backend: Backend,
        request: Request,
        application: Application,
        form: AbstractAsyncContextManager[Posted] | None = None,
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
        assert self.form is not None, "what is posted"
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

    async def overview(
        self, form: Posted, counted: AbstractAsyncContextManager[None], seconds: int, first_rows: int
    ) -> dict[str, Any]:
        """Return the result as a page shows it (`uws_service.tap.overview`), with the notes on the query.

        Raises
        ------
        TimeoutError
            It would take longer.
        UwsError
            The query is at fault, or nothing can be done now.
        """
        queries = self.backend.queries[self.application.name]
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(counted)
                checked, notices = await offload(form.weight, _checked, self.application, form)
                question = await self._question(checked, queries, stack)
                process = await stack.enter_async_context(queries.pool.process(self.caller, seconds))
                # The engine's own end comes first, so that the process lives on.
                question |= {"seconds": seconds, "first_rows": first_rows}
                process.limit(seconds + GRACE_SECONDS)
                begin = asyncio.get_running_loop().time()
                await self._asked(process, question)
                content = b"".join([part async for part in process.parts()])
        except (QueryBounded, PoolBusy) as error:
            raise TimeoutError from error
        seconds_taken = asyncio.get_running_loop().time() - begin
        return {**json.loads(content), "notes": [*notices, *process.notes], "seconds": seconds_taken}

    async def _asked(self, process: Process, question: dict[str, Any]) -> None:
        """Ask the process.

        Give up when the client disconnects.
        """
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


def _checked(application: Application, form: Posted) -> tuple[Checked, tuple[str, ...]]:
    """Return the checked parameters, and a sentence for each unknown one."""
    fields = [Parameter(name, value) for name, value in form.fields if name.upper() not in CONTROL]
    run_id = run_id_of(form)
    if run_id is not None:
        log.info("query", application=application.name, run_id=run_id)  # D-027
    parameters = [*fields, *form.files]
    return check(application, parameters), unknown_parameters(application, parameters)
