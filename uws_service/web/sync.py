"""DALI-sync: ``/{application}/sync``, answered by the application's face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UwsError
from uws_service.service.backend import Backend
from uws_service.web.faces.registry import Faces
from uws_service.web.resource import ErrorBody, Resource


class Sync:
    """Handlers of ``/{application}/sync``."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.service = backend.service
        self.faces = faces

    async def answer(self, request: Request) -> Response:
        """GET and POST (D-015).

        200 or an error (D-045).
        """
        application = self.service.application(request.path_params["application"])
        return await self.faces.of(application).answer_sync(request, application)

    def error_form(self, error: UwsError, request: Request) -> ErrorBody:
        """Return an error in the standard's words."""
        application = self.service.applications.get(request.path_params["application"])
        if application is None:
            return self.faces.handlers["plain"].sync_error(error)
        return self.faces.of(application).sync_error(error)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/sync": Resource(
            "sync",
            Policy.USE,
            get=(answer, "Run a job and answer with its main result, or with an error document."),
            post=(answer, "The same; needed for files."),
            get_runs=True,
            error_form=error_form,
        ),
    }
