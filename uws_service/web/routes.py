"""The one routes table of the service."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from uws_service.service.backend import Backend
from uws_service.web.agent import AgentResources
from uws_service.web.bulk import Bulk
from uws_service.web.edge import Resource
from uws_service.web.jobs import Jobs
from uws_service.web.login import Login
from uws_service.web.meta import Meta
from uws_service.web.sharing import Sharing
from uws_service.web.sync import Sync


def resources(backend: Backend) -> dict[str, Resource]:
    """Return every resource by the template of its path; those that are asked for most come first."""
    jobs, meta, sync = Jobs(backend), Meta(backend), Sync(backend)
    below = {**jobs.resources(), **Sharing(backend).resources()}
    table = {f"/{{application}}/async{path}": resource for path, resource in below.items()}
    table["/{application}/sync"] = sync.resource()
    table.update(Bulk(backend).resources())
    table["/{application}/links"] = sync.soda.resource()
    table.update(sync.tap.resources())
    table.update(AgentResources(backend).resources())
    if backend.sessions is not None:
        table.update(Login(backend).resources())
    table.update(meta.resources())
    for path, resource in table.items():
        resource.path = path
    return table


def routes(backend: Backend) -> list[BaseRoute]:
    """Return the routes of all resources."""
    return [Route(path, endpoint=resource, name=path) for path, resource in resources(backend).items()]
