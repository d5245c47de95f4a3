"""SODA: DataLink, and its own answers of ``/sync``.

A synchronous request is checked before a job is made of it, so that a mistake is told at once (S-003, S-005).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Never

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
from uws_service.domain.job import Result
from uws_service.protocol import dali
from uws_service.service.backend import Backend
from uws_service.soda import descriptor, documents
from uws_service.soda import links as datalink
from uws_service.soda.descriptor import images_of
from uws_service.soda.errors import MultiValued, Usage
from uws_service.soda.index import Entry, Index
from uws_service.soda.request import NAMES, parse
from uws_service.web.call import call_of
from uws_service.web.faces.base import Face
from uws_service.web.faces.plain import PlainHandlers
from uws_service.web.forms import FormLimits, read_form
from uws_service.web.resource import ErrorBody, Resource

log = structlog.get_logger(__name__)


class SodaHandlers(PlainHandlers):
    """The collections of all SODA services."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._body = backend.limits.body
        collections = {name: images_of(application) for name, application in backend.applications.items()}
        self._indexes = {name: Index(spec.index) for name, spec in collections.items() if spec is not None}

    async def _entries(self, application: Application) -> dict[str, Entry]:
        try:
            return await asyncio.to_thread(self._indexes[application.name].entries)
        except ConfigurationError as error:
            log.error("index of images", application=application.name, error=error.message)
            raise ServiceUnavailable("The index of the images can't be read.", retry_after=10) from None

    async def check_sync(self, application: Application, fields: Sequence[tuple[str, str]]) -> None:
        """Raise unless one cutout of a known image is requested."""
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
        """GET and POST.

        DataLink of the images with these ids.
        """
        application = self.service.application(request.path_params["application"])
        if application.name not in self._indexes:
            raise NotFound(f"The application {application.name!r} has no links.")
        fields = request.query_params.multi_items()
        if request.method == "POST":
            fields = [*fields, *await self._posted(request)]
        ids = list(dict.fromkeys(value for name, value in fields if name.upper() == "ID" and value))
        if len(ids) > datalink.MAX_IDS:
            raise UsageError(f"ID was given {len(ids)} times; at most {datalink.MAX_IDS} are taken.")
        for name, value in fields:
            if name.upper() == "RESPONSEFORMAT" and value.partition(";")[0].strip() not in _FORMATS:
                raise UsageError(f"RESPONSEFORMAT={value[:80]!r} is not offered; offered: votable.")
        entries = await self._entries(application)
        base = f"{call_of(request).base}/{application.name}"
        document = datalink.links_votable(ids, entries, base, application.parameters)
        return Response(document, 200, {"cache-control": "no-store", "content-type": datalink.MEDIA_TYPE})

    async def _posted(self, request: Request) -> list[tuple[str, str]]:
        call, limits = call_of(request), replace(_LIMITS, body=self._body)
        with self.backend.uploads.account(call.identity, call.origin) as account:
            form = await read_form(
                request.headers, request.stream(), limits=limits, open_file=_no_file, hold=account.hold
            )
        return form.fields

    async def capabilities(self, application: Application, base: str, methods: tuple[str, ...]) -> bytes:
        """Return capabilities of SODA and DataLink (S-001)."""
        return documents.capabilities_xml(application, base, methods)

    def sync_error(self, error: UwsError) -> ErrorBody:
        """Return an error in SODA's words (S-005).

        It is text that begins with a label.
        """
        return ErrorBody(dali.error_text(f"{error.title}: {error.message}", error.detail), "text/plain")

    def has_content(self, result: Result) -> bool:
        """Return whether there is a cutout.

        A text says why there is nothing to cut, and the client gets no body.
        """
        return result.media_type != "text/plain"

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/links": Resource(
            "links",
            Policy.USE,
            get=(
                links,
                "DataLink of images (`ID`, repeatable); 404 if the application is no SODA service.",
            ),
            post=(links, "The same, for many ids."),
        ),
    }


def _no_file(number: int) -> Never:
    raise UsageError("DataLink takes no files.")


_LIMITS = FormLimits(body=0, fields=datalink.MAX_IDS + 10, field_size=10_000, files=0, file_size=0, text=1 << 20)
_FORMATS = frozenset({"votable", "application/x-votable+xml", "text/xml", ""})


SODA = Face(descriptor.SODA, SodaHandlers)
