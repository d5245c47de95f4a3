"""The ASGI application: all routes behind one edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from uws_service.domain.errors import NotFound
from uws_service.service.backend import Backend
from uws_service.web.edge import Edge
from uws_service.web.gate import Gate
from uws_service.web.router import JobsFirst
from uws_service.web.routes import JOBS, resources, routes
from uws_service.web.settings import WebSettings


class Cors(CORSMiddleware):
    """CORS whose answers to preflights are as the edge's."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return what a page may do."""
        response = super().preflight_response(request_headers)
        response.headers["x-content-type-options"] = "nosniff"
        return response


class App:
    """The service as an ASGI application.

    It opens its parts at startup and closes them at shutdown.

    Parameters
    ----------
    settings
        What the edge needs before the parts are open.
    open_backend
        Opens the parts, as an asynchronous context manager.
    """

    def __init__(self, settings: WebSettings, open_backend: Callable[[], AbstractAsyncContextManager[Backend]]) -> None:
        self._open_backend = open_backend
        self.backend: Backend | None = None
        self._router = JobsFirst(self._lifespan, _no_route)
        self._inner = Edge(self._router, settings)
        edge: ASGIApp = self._inner
        if settings.cors_origins:
            edge = Cors(
                edge,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["authorization", "idempotency-key", "range"],
                expose_headers=["location", "www-authenticate", "content-range", "x-vo-authenticated", "x-uws-note"],
            )
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._open_backend() as backend:
            self.backend = backend
            self._inner.gate = Gate(backend)
            table = resources(backend)
            self._router.set_routes(routes(table), table, JOBS)
            yield

    async def reload(self) -> None:
        """Read the descriptors of applications again."""
        if self.backend is not None:
            await self.backend.reload()

    def drain(self) -> None:
        """Answer all waiting requests; the server stops soon."""
        if self.backend is not None:
            self.backend.drain()


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise NotFound(f"There is nothing at {scope['path'][:256]!r}. The root lists the applications.")
