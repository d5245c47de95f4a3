"""Many jobs by one request, all under one RUNID.

A table of parameters makes a job for each of its rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from uws_service.applications.bulk import read_rows
from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound, UsageError
from uws_service.domain.ids import new_id
from uws_service.domain.job import Parameter
from uws_service.offload import offload
from uws_service.service.backend import Backend
from uws_service.service.requests import fingerprint
from uws_service.web.call import call_of
from uws_service.web.intake import idempotency_key, job_request, posted
from uws_service.web.replies import see_other
from uws_service.web.resource import Resource

TABLE = "TABLE"
MAX_TABLE_BYTES = 16 * 1024**2
"""Bytes of a table."""


class Bulk:
    """Handler of ``/{application}/bulk``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service = backend.service

    async def create(self, request: Request) -> Response:
        """POST: the file TABLE, and common parameters.

        The answer is 303 to the list of the jobs.

        All of the jobs are made, or none.
        """
        call = call_of(request)
        application = self.service.application(request.path_params["application"])
        if not application.bulk:
            raise NotFound(f"The application {application.name!r} takes no tables of jobs.")
        self.service.rules.require_use(application, call.identity)
        key = idempotency_key(request)
        limits = self.backend.limits
        table_limits = limits.model_copy(update={"upload": min(limits.upload, MAX_TABLE_BYTES), "files": 1})
        place = new_id(self.service.clock())
        try:
            async with posted(request, self.backend.uploads, table_limits, place) as form:
                text = await self._table(form.files)
                common = job_request(type(form)(form.fields))
                maximum = min(application.bulk, limits.bulk)
                rows = await asyncio.to_thread(read_rows, application, text, common.parameters, maximum)
                run_id = await self.service.create_many(
                    application,
                    call.caller,
                    common,
                    rows,
                    idempotency=(key, await offload(form.weight, fingerprint, common, form.digests)) if key else None,
                )
        finally:
            await self.backend.depot.delete_prefix(f"jobs/{place}/")
        return see_other(f"{call.base}/{application.name}/async?RUNID={quote(run_id, safe='')}")

    async def _table(self, files: Sequence[Parameter]) -> str:
        """Return the table's text."""
        if len(files) != 1 or files[0].name.upper() != TABLE or files[0].upload is None:
            raise UsageError(f"Send one file, named {TABLE}: CSV with a line of parameter names.")
        data = b"".join([chunk async for chunk in self.backend.depot.read(files[0].upload)])
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError("The table is not UTF-8 text.") from None

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/bulk": Resource(
            "bulk",
            Policy.USE,
            post=(create, "A job for each line of the CSV file `TABLE`, under one `RUNID`; 303 to their list."),
        ),
    }
