"""The ASGI application: all routes in one table, behind one edge."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from uws_service.errors import NotFound
from uws_service.runtime import Runtime, running
from uws_service.settings import Settings
from uws_service.web.agent import AgentResources
from uws_service.web.bulk import Bulk
from uws_service.web.edge import Edge, Resource
from uws_service.web.gate import Gate
from uws_service.web.jobs import Jobs
from uws_service.web.login import Login
from uws_service.web.meta import Meta
from uws_service.web.sessions import Sessions
from uws_service.web.sharing import Sharing
from uws_service.web.sync import Sync


class Cors(CORSMiddleware):
    """Answers of its own, to preflights, are as those of the edge."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a page may do."""
        response = super().preflight_response(request_headers)
        response.headers["x-content-type-options"] = "nosniff"
        return response


def routes(runtime: Runtime, login: Login | None = None) -> list[BaseRoute]:
    """The one routes table; what is asked for most is looked at first."""
    jobs, meta, sync = Jobs(runtime), Meta(runtime), Sync(runtime)
    below = {**jobs.resources(), **Sharing(runtime).resources()}
    table: dict[str, Resource] = {f"/{{application}}/async{path}": one for path, one in below.items()}
    table["/{application}/sync"] = sync.resource()
    table.update(Bulk(runtime).resources())
    table["/{application}/links"] = sync.soda.resource()
    table.update(sync.tap.resources())
    table.update(AgentResources(runtime).resources())
    if login is not None:
        table.update(login.resources())
    table.update(meta.resources())
    for path, resource in table.items():
        resource.path = path
    return [Route(path, endpoint=resource, name=path) for path, resource in table.items()]


class App:
    """The service as ASGI: opens its parts at startup, closes them at shutdown.

    Parameters
    ----------
    settings
        All of the service's settings.
    clock
        The present instant in seconds since the epoch, for callers' tokens, sessions and requests.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._clock = clock
        self.runtime: Runtime | None = None
        self._router = Router(lifespan=self._lifespan, default=_no_route, redirect_slashes=False)
        self._inner = Edge(self._router, settings)
        edge: ASGIApp = self._inner
        if settings.cors_origins:
            edge = Cors(
                edge,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["authorization", "idempotency-key", "range"],
                expose_headers=["location", "www-authenticate", "content-range", "x-vo-authenticated"],
            )
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with running(self.settings, clock=self._clock) as runtime:
            self.runtime = runtime
            sessions = login = None
            if runtime.user_tokens is not None:
                key = await runtime.store.access.secret("cookies")
                sessions = Sessions(runtime.store.access, key, runtime.service.clock)
                login = Login(runtime, sessions, key)
            self._inner.gate = Gate(runtime, sessions)
            self._router.routes[:] = routes(runtime, login)
            yield

    def drain(self) -> None:
        """Answer all waiting requests: the server is about to stop."""
        if self.runtime is not None:
            self.runtime.drain()


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise NotFound(f"There is nothing at {scope['path'][:256]!r}. The root lists the applications.")


def create_app(settings: Settings | None = None) -> App:
    """The application for an ASGI server."""
    return App(settings if settings is not None else Settings.load())
