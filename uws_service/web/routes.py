"""The table of all resources, for routes and documentation.

A package of somebody else's adds resources by an entry point of the group ``uws_service.resources`` that names a
function: it takes the `Backend` and returns resources by the templates of their paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.routing import BaseRoute, Route

from uws_service.auth.policy import Policy
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.plugins import load_functions
from uws_service.service.backend import Backend
from uws_service.web.account import AccountResource
from uws_service.web.agent import AgentResources
from uws_service.web.all_jobs import AllJobs
from uws_service.web.bulk import Bulk
from uws_service.web.events import Events
from uws_service.web.faces.registry import FACES, Faces
from uws_service.web.home import Home
from uws_service.web.job import JobResources
from uws_service.web.job_copy import JobCopy
from uws_service.web.job_extras import JobExtras
from uws_service.web.job_list import JobList
from uws_service.web.job_parts import JobParts
from uws_service.web.login import Login
from uws_service.web.meta import Meta
from uws_service.web.network import NetworkPage
from uws_service.web.new_job import NewJob
from uws_service.web.notifications import Notifications
from uws_service.web.provenance import Provenance
from uws_service.web.provsap import ProvSap
from uws_service.web.rerun import Rerun
from uws_service.web.resource import Resource
from uws_service.web.runner import RunnerResources
from uws_service.web.sharing import Sharing
from uws_service.web.site_control import SiteResources
from uws_service.web.sync import Sync
from uws_service.web.tap_pages import TapPages
from uws_service.web.usage import Usage
from uws_service.web.viewer import ResultViewer

JOBS = "/{application}/async"
CORE: tuple[tuple[str, type, Mapping[str, Resource]], ...] = (
    ("", SiteResources, SiteResources.RESOURCES),  # before those of applications: a site may be called async
    ("", Events, Events.RESOURCES),  # its /async/events comes before the jobs, whose ids never read so
    (JOBS, JobResources, JobResources.RESOURCES),
    (JOBS, JobList, JobList.RESOURCES),
    (JOBS, JobParts, JobParts.RESOURCES),
    (JOBS, ResultViewer, ResultViewer.RESOURCES),
    (JOBS, Sharing, Sharing.RESOURCES),
    (JOBS, Provenance, Provenance.RESOURCES),
    (JOBS, Rerun, Rerun.RESOURCES),
    (JOBS, JobCopy, JobCopy.RESOURCES),
    ("", ProvSap, ProvSap.RESOURCES),
    ("", AllJobs, AllJobs.RESOURCES),
    (JOBS, JobExtras, JobExtras.RESOURCES),
    ("", Notifications, Notifications.RESOURCES),
    ("", Sync, Sync.RESOURCES),
    ("", Bulk, Bulk.RESOURCES),
    ("", NewJob, NewJob.RESOURCES),
    *(("", face.handlers, face.handlers.RESOURCES) for face in FACES.values()),
    ("", TapPages, TapPages.RESOURCES),
    ("", AgentResources, AgentResources.RESOURCES),
    ("", RunnerResources, RunnerResources.RESOURCES),
    ("", Login, Login.RESOURCES),
    ("", Usage, Usage.RESOURCES),
    ("", NetworkPage, NetworkPage.RESOURCES),
    ("", AccountResource, AccountResource.RESOURCES),
    ("", Meta, Meta.RESOURCES),
    ("", Home, Home.RESOURCES),
)
"""What comes before each path, the class of the handlers, its resources; those that are used most come first."""

PATH_NAMES: Mapping[Policy, tuple[str, ...]] = {
    Policy.LIST: ("application",),
    Policy.USE: ("application",),
    Policy.READ: ("application", "job_id"),
    Policy.WRITE: ("application", "job_id"),
}
"""The names in a path by which a policy finds whom it protects."""


class PathNumber(IntegerConvertor):
    """A number in a path.

    None has more digits (Python converts 4300 at most).
    """

    regex = "[0-9]{1,9}"


register_url_convertor("int", PathNumber())


def declared() -> Iterator[tuple[str, type, Resource]]:
    """Yield each resource with path and class of handlers."""
    for prefix, owner, table in CORE:
        for path, resource in table.items():
            yield prefix + path, owner, resource


def resources(backend: Backend) -> dict[str, Resource]:
    """Return all resources, bound to a backend, by path."""
    faces = Faces(backend)
    owners = _owners(backend, faces)
    table = {path: resource.bind(owners[owner]) for path, owner, resource in declared() if owner in owners}
    for origin, extension in load_functions("uws_service.resources").items():
        for path, resource in _extend(origin, extension, backend).items():
            if path in table:
                raise ConfigurationError(f"{origin}: there is a resource at {path} already.")
            table[path] = resource
    for path, resource in table.items():
        resource.path = path
    return table


def _extend(
    origin: str, extension: Callable[[Backend], Mapping[str, Resource]], backend: Backend
) -> Mapping[str, Resource]:
    """Return the resources of another package."""
    try:
        table = extension(backend)
    except UwsError:
        raise
    except Exception as error:  # whatever a foreign function does
        raise ConfigurationError(f"{origin}: {type(error).__name__}: {error}") from error
    if not isinstance(table, Mapping) or not all(isinstance(resource, Resource) for resource in table.values()):
        raise ConfigurationError(f"{origin}: must return a dict of a Resource by each path.")
    for path, resource in table.items():
        if problem := unroutable(path, resource):
            raise ConfigurationError(f"{origin}: {path}: {problem}")
    return table


def unroutable(path: str, resource: Resource) -> str:
    """Return why a resource can't be at a path, or nothing: its policies need names of the path."""
    names = set(re.findall(r"{(\w+)", path))
    for verb, policy in resource.policies.items():
        for name in PATH_NAMES.get(policy, ()):
            if name not in names:
                return f"{verb} has the policy {policy}, so the path must have {{{name}}}."
    return ""


def _owners(backend: Backend, faces: Faces) -> dict[type, object]:
    """Return an object of each class of handlers."""
    with_faces: tuple[Callable[[Backend, Faces], object], ...] = (
        JobResources,
        JobList,
        JobParts,
        ResultViewer,
        Provenance,
        Rerun,
        JobCopy,
        JobExtras,
        NewJob,
        Sync,
        TapPages,
        Meta,
    )
    without: tuple[Callable[[Backend], object], ...] = (
        SiteResources,
        Home,
        AllJobs,
        Events,
        Notifications,
        Sharing,
        ProvSap,
        Bulk,
        AgentResources,
        RunnerResources,
        Usage,
        NetworkPage,
        AccountResource,
    )
    owners = [make(backend, faces) for make in with_faces] + [make(backend) for make in without]
    owners += [handlers for handlers in faces.handlers.values() if handlers.has_resources]
    if backend.sessions is not None:  # else nobody can log in
        owners.append(Login(backend))
    return {type(owner): owner for owner in owners}


def routes(table: Mapping[str, Resource]) -> list[BaseRoute]:
    """Return the routes of all resources."""
    return [Route(path, endpoint=resource, name=path) for path, resource in table.items()]
