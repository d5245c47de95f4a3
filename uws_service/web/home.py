"""The first page, and those of the applications: for people, and JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service import __version__
from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.domain.errors import UwsError
from uws_service.domain.search import Search
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.service.selection import Selection
from uws_service.web.call import account_of, call_of
from uws_service.web.home_page import LAST_JOBS, OwnJobs, application_page, root_page
from uws_service.web.replies import html_reply
from uws_service.web.resource import Resource

MAX_WORDS = 200


class Home:
    """Handlers of ``/`` and ``/{application}``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service = backend.service
        self.applications = backend.applications
        self.selection = Selection(backend.service)

    async def root(self, request: Request) -> Response:
        """GET /: the applications, as a page with the reader's last jobs or as JSON."""
        base = call_of(request).base
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            words = request.query_params.get("FIND", "")[:MAX_WORDS]
            shown = tuple(self.applications.values())
            return html_reply(root_page(shown, base, account_of(request), await self._own_jobs(request), words))
        listed = [_described(application, base) for application in self.applications.values()]
        described = self.backend.presentation.document()
        return JSONResponse({"service": "uws-service", "version": __version__, **described, "applications": listed})

    async def _own_jobs(self, request: Request) -> OwnJobs | None:
        """Return the reader's last jobs; None if they can't have a list of any."""
        caller = call_of(request).caller
        try:
            page = await self.selection.page(caller, Search(), None, LAST_JOBS)
            return OwnJobs(page.rows, await self.service.views.newest_counts(caller))
        except UwsError:
            return None

    async def application(self, request: Request) -> Response:
        """GET /{application}: what it does and takes."""
        application = self.service.application(request.path_params["application"])
        base = call_of(request).base
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            queue = await self.service.views.at_work(application.name)
            return html_reply(application_page(application, base, account_of(request), queue))
        return JSONResponse(_described(application, base))

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/": Resource("root", Policy.OPEN, get=(root, "The applications: a page for people, JSON for programs.")),
        "/{application}": Resource(
            "application", Policy.OPEN, get=(application, "What the application does and takes.")
        ),
    }


def _described(application: Application, base: str) -> dict[str, object]:
    root = f"{base}/{application.name}"
    return {
        "name": application.name,
        "title": application.title,
        "description": application.description,
        "async": f"{root}/async",
        "sync": f"{root}/sync",
        "events": f"{root}/async/events",
        "availability": f"{root}/availability",
        "capabilities": f"{root}/capabilities",
        "examples": f"{root}/examples" if application.examples else None,
        "parameters": [
            {
                "name": parameter.name,
                "datatype": parameter.datatype,
                "unit": parameter.unit,
                "ucd": parameter.ucd,
                "required": parameter.required,
                "repeated": parameter.repeated,
                "description": parameter.description,
                "default": parameter.default,
            }
            for parameter in application.parameters
        ],
    }
