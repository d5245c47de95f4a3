"""What a face is: a standard on top of UWS and DALI.

It has a part in descriptors, over HTTP and on pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from uws_service.applications import Application, Standard
from uws_service.domain.errors import UwsError
from uws_service.domain.job import Job
from uws_service.protocol import dali, vosi
from uws_service.web.resource import ErrorBody, Resource

if TYPE_CHECKING:
    from uws_service.service.backend import Backend

VOTABLE = "application/x-votable+xml"


class FaceHandlers:
    """The handlers of the applications of one face.

    A face overrides what its standard has of its own; the rest is as for plain UWS and DALI.
    """

    RESOURCES: ClassVar[Mapping[str, Resource]] = {}
    """Resources that only this face has, by the templates of their paths; their handlers are methods of the class."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service = backend.service

    @property
    def has_resources(self) -> bool:
        """Return whether the settings let the face have its own resources."""
        return True

    async def answer_sync(self, request: Request, application: Application) -> Response:
        """Answer GET and POST of ``/{application}/sync`` (D-015)."""
        raise NotImplementedError

    def sync_error(self, error: UwsError) -> ErrorBody:
        """Return an error of ``/{application}/sync``: an error VOTable.

        D-045, D-048.
        """
        return ErrorBody(dali.error_votable(error.message, error.detail), VOTABLE)

    async def capabilities(self, application: Application, base: str, methods: tuple[str, ...]) -> bytes:
        """Return the VOSI capabilities.

        ``methods`` are the ways to log in, ``base`` is the application's URL.
        """
        return vosi.capabilities_xml(application, base, methods)

    def examples(self, application: Application, base: str) -> bytes:
        """Return the DALI examples."""
        return dali.examples_xhtml(application, base)

    async def job_section(self, job: Job) -> Markup:
        """Return the face's part of a job's page."""
        return Markup()


@dataclass(frozen=True, slots=True)
class Face:
    """A standard, and what serves its applications."""

    standard: Standard
    """Its part of a descriptor; its name is what ``protocol`` says there."""
    handlers: type[FaceHandlers]
    """Its part of the web."""

    @property
    def name(self) -> str:
        """Return the name that ``protocol`` has in descriptors."""
        return self.standard.name
