"""The router: it finds what is asked for most without trying the other routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

_JOBS = re.compile(r"/(?!sites/)([^/]+)/async(?:/([0-9a-f]{32}))?(|/phase)")
"""Jobs, a job and its phase.

The id has the form of ours, so that no other resource can be meant; ``/sites/async`` is a site.
"""


class JobsFirst(Router):
    """Routes in their order, jobs and their phases before them."""

    def __init__(self, lifespan: Callable[[Any], AbstractAsyncContextManager[Any]], default: ASGIApp) -> None:
        super().__init__(lifespan=lifespan, default=default, redirect_slashes=False)
        self._swift: dict[tuple[bool, str], ASGIApp] = {}

    def set_routes(self, routes: Sequence[BaseRoute], resources: Mapping[str, ASGIApp], jobs: str) -> None:
        """Set the routes.

        ``resources`` are those of the routes by their templates, ``jobs`` is the template of a list of jobs.
        """
        self.routes[:] = routes
        self._swift = {(True, tail): resources[f"{jobs}/{{job_id}}{tail}"] for tail in ("", "/phase")}
        self._swift[False, ""] = resources[jobs]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _JOBS.fullmatch(scope["path"]) if scope["type"] == "http" else None
        resource = self._swift.get((match[2] is not None, match[3])) if match is not None else None
        if match is None or resource is None:
            await super().__call__(scope, receive, send)
            return
        scope["path_params"] = {"application": match[1]}
        if match[2] is not None:
            scope["path_params"]["job_id"] = match[2]
        await resource(scope, receive, send)
