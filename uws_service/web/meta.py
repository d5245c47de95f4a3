"""Resources that are no jobs: pages, VOSI, probes, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import ClassVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service import __version__, telemetry
from uws_service.applications import Application
from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound
from uws_service.protocol import negotiation, vosi
from uws_service.protocol.challenges import security_methods
from uws_service.service.backend import Backend
from uws_service.web import pages
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.registry import Faces
from uws_service.web.resource import Resource

XML = "text/xml"
STATIC_TYPES = {".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}


class Meta:
    """Handlers of the resources that are not jobs."""

    def __init__(self, backend: Backend, faces: Faces) -> None:
        self.backend = backend
        self.faces = faces
        self.applications = backend.applications

    def _application(self, request: Request) -> Application:
        return self.backend.service.application(request.path_params["application"])

    async def root(self, request: Request) -> Response:
        """GET /: the applications, as a page or as JSON."""
        base = call_of(request).base
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            return _html(pages.root_page(tuple(self.applications.values()), base, account_of(request)))
        listed = [_described(application, base) for application in self.applications.values()]
        return JSONResponse({"service": "uws-service", "version": __version__, "applications": listed})

    async def application(self, request: Request) -> Response:
        """GET /{application}: what it does and takes."""
        application, base = self._application(request), call_of(request).base
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            return _html(pages.application_page(application, base, account_of(request)))
        return JSONResponse(_described(application, base))

    async def availability(self, request: Request) -> Response:
        """GET /{application}/availability: always anonymous (V-002, V-020)."""
        self._application(request)
        problems = await self.backend.problems()
        document = vosi.availability_xml(not problems, up_since=self.backend.up_since, notes=tuple(problems))
        return Response(document, 200, {"cache-control": "no-store"}, XML)

    async def capabilities(self, request: Request) -> Response:
        """GET /{application}/capabilities: V-010…V-013."""
        application = self._application(request)
        call, rules = call_of(request), self.backend.rules
        methods = security_methods(anonymous=rules.access(application).anonymous) if rules.has_issuers else ()
        base = f"{call.base}/{application.name}"
        document = await self.faces.of(application).capabilities(application, base, methods)
        headers = {"last-modified": vosi.http_date(self.backend.up_since)}  # V-011: applications are read at start
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
        document = self.faces.of(application).examples(application, base)
        return Response(document, 200, media_type="application/xhtml+xml")

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
        folder = package_files("uws_service.web").joinpath("static")
        matches = [entry for entry in folder.iterdir() if entry.name == name and entry.is_file()]
        if not matches:
            raise NotFound(f"There is no file {name!r}.")
        media_type = STATIC_TYPES.get(name[name.rfind(".") :], "application/octet-stream")
        headers = {"cache-control": "public, max-age=3600"}
        return Response(matches[0].read_bytes(), 200, headers, media_type)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/": Resource("root", Policy.OPEN, get=(root, "The applications: a page for people, JSON for programs.")),
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
        "/static/{name}": Resource("static", Policy.PROBE, get=(static, "The style of the pages.")),
        "/{application}/availability": Resource(
            "availability", Policy.PROBE, get=(availability, "VOSI availability; the parts were really tried.")
        ),
        "/{application}/capabilities": Resource("capabilities", Policy.OPEN, get=(capabilities, "VOSI capabilities.")),
        "/{application}/examples": Resource(
            "examples", Policy.OPEN, get=(examples, "DALI examples; 404 if there are none.")
        ),
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


def _html(page: str) -> Response:
    return Response(page, 200, {"cache-control": "no-store", **pages.HEADERS}, "text/html")
