"""What a SODA service has beside the jobs of its application: DataLink, and SODA's own answers of ``/sync``.

A synchronous request is checked before a job is made of it, so that a mistake is told at once (S-003, S-005).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Never

import structlog
from starlette.requests import Request
from starlette.responses import Response

from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.domain.errors import (
    ConfigurationError,
    MultiValuedParamNotSupported,
    NotFound,
    ServiceUnavailable,
    UsageError,
    UwsError,
)
from uws_service.domain.job import Job
from uws_service.service.backend import Backend
from uws_service.soda import links
from uws_service.soda.errors import MultiValued, Usage
from uws_service.soda.index import Entry, Index
from uws_service.soda.request import NAMES, parse
from uws_service.web.edge import Resource, call_of
from uws_service.web.forms import FormLimits, read_form

log = structlog.get_logger(__name__)

_LABEL = re.compile(r"\b(UsageError|MultiValuedParamNotSupported|ServiceUnavailable|Error): (.+)")


class Soda:
    """The collections of all applications of the protocol ``soda``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self._body = backend.limits.body
        self._indexes = {
            one.name: Index(one.images.index) for one in backend.applications.values() if one.images is not None
        }

    async def _entries(self, application: Application) -> dict[str, Entry]:
        try:
            return await asyncio.to_thread(self._indexes[application.name].entries)
        except ConfigurationError as error:
            log.error("index of images", application=application.name, error=error.message)
            raise ServiceUnavailable("The index of the images can't be read.", retry_after=10) from None

    async def check_sync(self, application: Application, fields: Sequence[tuple[str, str]]) -> None:
        """Raise `UsageError` unless the request is for one cutout of an image that is there."""
        values: dict[str, list[str]] = {}
        for name, value in fields:
            if name.upper() in NAMES and value:
                values.setdefault(name.upper(), []).append(value)
        try:
            request = await asyncio.to_thread(parse, values)  # thousands of vertices take a while
            request.require_single()
        except MultiValued as error:
            raise MultiValuedParamNotSupported(error.message) from None
        except Usage as error:
            raise UsageError(error.message) from None
        if request.ids[0] not in await self._entries(application):
            raise UsageError(f"ID={request.ids[0][:200]!r}: there is no such image in this collection.")

    async def links(self, request: Request) -> Response:
        """GET and POST /{application}/links: DataLink of the images whose ids are given."""
        application = self.service.application(request.path_params["application"])
        if application.name not in self._indexes:
            raise NotFound(f"The application {application.name!r} has no links.")
        fields = request.query_params.multi_items()
        if request.method == "POST":
            form = await read_form(
                request.headers, request.stream(), limits=replace(_LIMITS, body=self._body), open_file=_no_file
            )
            fields = [*fields, *form.fields]
        ids = list(dict.fromkeys(value for name, value in fields if name.upper() == "ID" and value))
        if len(ids) > links.MAX_IDS:
            raise UsageError(f"ID was given {len(ids)} times; at most {links.MAX_IDS} are taken.")
        for name, value in fields:
            if name.upper() == "RESPONSEFORMAT" and value.partition(";")[0].strip() not in _FORMATS:
                raise UsageError(f"RESPONSEFORMAT={value[:80]!r} is not offered; offered: votable.")
        entries = await self._entries(application)
        base = f"{call_of(request).base}/{application.name}"
        document = links.links_votable(ids, entries, base, application.parameters)
        return Response(document, 200, {"cache-control": "no-store", "content-type": links.MEDIA_TYPE})

    def resource(self) -> Resource:
        """The routes' entry."""
        return Resource("links", Policy.USE, get=self.links, post=self.links)


def _no_file(number: int) -> Never:
    raise UsageError("DataLink takes no files.")


_LIMITS = FormLimits(body=0, fields=links.MAX_IDS + 10, field_size=10_000, files=0, file_size=0, text=1 << 20)
_FORMATS = frozenset({"votable", "application/x-votable+xml", "text/xml", ""})


def failure(job: Job) -> UwsError | None:
    """What the command said of the request, as the error that it is; None if it said nothing."""
    if job.error is None:
        return None
    last = job.error.detail.strip().rpartition("\n")[2]
    labelled = _LABEL.search(last) or _LABEL.search(job.error.message)
    if labelled is None:
        return None
    label, message = labelled.groups()
    if label == "ServiceUnavailable":
        return ServiceUnavailable(message, retry_after=10)
    return CutoutFailed(message) if label == "Error" else UsageError(message)


class CutoutFailed(UwsError):
    """The image can't be cut: asking again is of no use, and the service itself is well."""

    status = 422
    title = "Error"
