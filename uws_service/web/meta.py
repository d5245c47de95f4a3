"""Resources that are no jobs: pages, VOSI, probes, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import ClassVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound
from uws_service.protocol import negotiation, vosi
from uws_service.protocol.challenges import security_methods
from uws_service.service.backend import Backend
from uws_service.service.presentation import LOGO_TYPES
from uws_service.web import document_pages, pages
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.resource import Resource

XML = "text/xml"
STATIC_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class Meta:
    """Handlers of the resources that are not jobs."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.backend = backend
        self.faces = faces

    def _application(self, request: Request) -> Application:
        return self.backend.service.application(request.path_params["application"])

    async def availability(self, request: Request) -> Response:
        """GET /{application}/availability: always anonymous (V-002, V-020)."""
        application = self._application(request)
        problems = await self.backend.problems()
        notes = [*problems, *([self.backend.presentation.banner] if self.backend.presentation.banner else [])]
        if _is_browser(request):
            page = document_pages.availability_page(application, problems, self.backend.up_since, call_of(request).base)
            return _html(page)
        document = vosi.availability_xml(not problems, up_since=self.backend.up_since, notes=tuple(notes))
        return Response(document, 200, {"cache-control": "no-store", "vary": "accept"}, XML)

    async def capabilities(self, request: Request) -> Response:
        """GET /{application}/capabilities: V-010…V-013."""
        application = self._application(request)
        call, rules = call_of(request), self.backend.rules
        methods = security_methods(anonymous=rules.access(application).anonymous) if rules.has_issuers else ()
        base = f"{call.base}/{application.name}"
        document = await self.faces.of(application).capabilities(application, base, methods)
        if _is_browser(request):
            return _html(document_pages.capabilities_page(application, document, call.base, account_of(request)))
        headers = {"vary": "accept", "last-modified": vosi.http_date(self.backend.described_since())}  # V-011
        response = Response(document, 200, headers, XML)
        if rules.has_issuers and call.identity.owner is None:  # one may log in
            assert call.gate is not None
            for challenge in call.gate.challenges(request.scope):
                response.headers.append("www-authenticate", challenge)
        return response

    async def examples(self, request: Request) -> Response:
        """GET /{application}/examples: D-017; 404 without any (D-005)."""
        application = self._application(request)
        if not application.examples:
            raise NotFound(f"The application {application.name!r} has no examples.")
        base = f"{call_of(request).base}/{application.name}"
        if _is_browser(request):
            return _html(document_pages.examples_page(application, call_of(request).base, account_of(request)))
        document = self.faces.of(application).examples(application, base)
        return Response(document, 200, {"vary": "accept"}, "application/xhtml+xml")

    async def live(self, request: Request) -> Response:
        """GET /livez: the process answers."""
        return Response("ok", media_type="text/plain")

    async def ready(self, request: Request) -> Response:
        """GET /readyz: the parts work and no end is near."""
        problems = await self.backend.problems()
        text = "\n".join(problems or ["ok", *self.backend.remarks()])
        return Response(text, 503 if problems else 200, media_type="text/plain")

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: Prometheus."""
        for (application, phase), count in (await self.backend.service.views.phase_counts()).items():
            telemetry.JOBS.labels(application, phase).set(count)
        await self.backend.problems()
        return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def static(self, request: Request) -> Response:
        """GET /static/{name}: the pages' style."""
        name = request.path_params["name"]
        headers = {"cache-control": "public, max-age=3600"}
        logo = self.backend.presentation.logo
        if name == "logo" and logo is not None:
            content = await asyncio.to_thread(logo.read_bytes)
            headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
            return Response(content, 200, headers, LOGO_TYPES[logo.suffix.lower()])
        folder = package_files("uws_service.web").joinpath("static")
        matches = [entry for entry in folder.iterdir() if entry.name == name and entry.is_file()]
        if not matches:
            raise NotFound(f"There is no file {name!r}.")
        media_type = STATIC_TYPES.get(name[name.rfind(".") :], "application/octet-stream")
        return Response(matches[0].read_bytes(), 200, headers, media_type)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/livez": Resource("livez", Policy.PROBE, get=(live, "200 as long as the process answers.")),
        "/readyz": Resource(
            "readyz",
            Policy.PROBE,
            get=(
                ready,
                "200 if database, depot and controllers work and the process is not about to end; else 503.",
            ),
        ),
        "/metrics": Resource("metrics", Policy.OPERATE, get=(metrics, "[Metrics](metrics.md) for Prometheus.")),
        "/static/{name}": Resource("static", Policy.PROBE, get=(static, "Style and scripts of the pages.")),
        "/{application}/availability": Resource(
            "availability", Policy.PROBE, get=(availability, "VOSI availability; the parts were really tried.")
        ),
        "/{application}/capabilities": Resource("capabilities", Policy.OPEN, get=(capabilities, "VOSI capabilities.")),
        "/{application}/examples": Resource(
            "examples", Policy.OPEN, get=(examples, "DALI examples; 404 if there are none.")
        ),
    }


def _is_browser(request: Request) -> bool:
    """Return whether a person asks; programs get the document."""
    return negotiation.choose(request.headers.get("accept"), ("xml", "html")) == "html"


def _html(page: str) -> Response:
    return Response(page, 200, {"cache-control": "no-store", **pages.HEADERS}, "text/html")
