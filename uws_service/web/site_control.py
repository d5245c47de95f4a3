"""Resources of sites, for administrators: how sites are, drains, facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.ids import new_id, now_ms
from uws_service.service.backend import Backend
from uws_service.web.call import call_of
from uws_service.web.intake import posted
from uws_service.web.replies import NO_STORE
from uws_service.web.resource import Resource


class SiteResources:
    """Handlers of ``/sites``."""

    def __init__(self, backend: Backend) -> None:
        self.sites = backend.service.sites
        self.uploads = backend.uploads
        self.limits = backend.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 10})

    async def list(self, request: Request) -> Response:
        """GET /sites: all sites."""
        return JSONResponse({"sites": await self.sites.all()}, headers=NO_STORE)

    async def show(self, request: Request) -> Response:
        """GET /sites/{name}: one site."""
        return JSONResponse(await self.sites.show(request.path_params["name"]), headers=NO_STORE)

    async def drain(self, request: Request) -> Response:
        """POST /sites/{name}/drain: REASON says why, to the owners of waiting jobs."""
        call, name = call_of(request), request.path_params["name"]
        async with posted(request, self.uploads, self.limits, new_id(now_ms())) as form:
            reason = form.word("REASON") or ""
        await self.sites.drain(name, reason, call.identity.owner or "")
        return JSONResponse(await self.sites.show(name), headers=NO_STORE)

    async def undrain(self, request: Request) -> Response:
        """DELETE /sites/{name}/drain: jobs start there again."""
        await self.sites.undrain(request.path_params["name"], call_of(request).identity.owner or "")
        return Response(status_code=204)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/sites": Resource(
            "sites", Policy.ADMINISTER, get=(list, "How the sites are, their limits and facts, as JSON.")
        ),
        "/sites/{name}": Resource("site", Policy.ADMINISTER, get=(show, "One site, as JSON.")),
        "/sites/{name}/drain": Resource(
            "drain",
            Policy.ADMINISTER,
            post=(drain, "Let no new jobs start at the site; `REASON` says why."),
            delete=(undrain, "Let jobs start there again."),
        ),
    }
