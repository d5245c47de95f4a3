"""A kind of site, a face and a resource of a package that the service knows nothing of."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications import Application, Standard
from uws_service.auth.policy import Policy
from uws_service.domain.attempt import Attempt, Launch, Observation, Seen
from uws_service.domain.errors import NotFound, UwsError
from uws_service.domain.job import Result
from uws_service.protocol import vosi
from uws_service.service.backend import Backend
from uws_service.sites.executor import Collected, Executor, Refused, result_key
from uws_service.sites.kind import Kind, SiteParts
from uws_service.sites.settings import SiteSettings
from uws_service.web.faces.base import Face
from uws_service.web.faces.plain import PlainHandlers
from uws_service.web.resource import ErrorBody, Resource


class MemorySite(SiteSettings):
    """The settings of a site in memory."""

    kind: Literal["memory"] = "memory"


class MemoryExecutor(Executor):
    """Runs nothing: each attempt succeeds at once, and its result is its parameters."""

    def __init__(self, settings: MemorySite, parts: SiteParts) -> None:
        self.site, self.capacity, self.depot = settings.name, settings.slots, parts.depot
        self.launches: dict[tuple[str, int], Launch] = {}

    async def submit(self, launch: Launch) -> None:
        """Keep an attempt."""
        self.launches.setdefault((launch.job_id, launch.number), launch)

    async def observe(self) -> list[Observation]:
        """Return all attempts as ended well."""
        now = time.time_ns() // 1_000_000
        return [Observation(*key, Seen.SUCCEEDED, started=now, ended=now, exit_code=0) for key in self.launches]

    async def kill(self, job_id: str, number: int) -> None:
        """Do nothing: what has ended can't be stopped."""

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Put the parameters into the depot."""
        launch = self.launches[observation.job_id, observation.number]
        content = launch.parameters.encode()
        expected = launch.results[0]

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        key = result_key(observation.job_id, expected.id)
        stored = await self.depot.put(key, chunks(), max_size=len(content))
        return Collected((Result(expected.id, key, expected.media_type, stored.size, stored.sha256),), ())

    async def forget(self, job_id: str, number: int) -> None:
        """Drop an attempt."""
        self.launches.pop((job_id, number), None)


MEMORY = Kind("memory", MemorySite, MemoryExecutor)


class SickSite(SiteSettings):
    """The settings of a site that can't run anything."""

    kind: Literal["sick"] = "sick"


class SickExecutor(MemoryExecutor):
    """Refuses each attempt."""

    async def submit(self, launch: Launch) -> None:
        """Refuse an attempt."""
        raise Refused("Its disks are broken.")


SICK = Kind("sick", SickSite, SickExecutor)


class ParrotHandlers(PlainHandlers):
    """What parrots have beside jobs."""

    async def vocabulary(self, request: Request) -> Response:
        """Return the phrases that a parrot knows."""
        application = self.service.application(request.path_params["application"])
        if application.standard is not PARROT.standard:
            raise NotFound(f"The application {application.name!r} is no parrot.")
        return JSONResponse({"phrases": application.section["phrases"]})

    def sync_error(self, error: UwsError) -> ErrorBody:
        """Return an error as JSON."""
        return ErrorBody(json.dumps({"squawk": error.message}), "application/json")

    async def capabilities(self, application: Application, base: str, methods: tuple[str, ...]) -> bytes:
        """Return the capabilities with a mark."""
        return vosi.capabilities_xml(application, base, methods) + b"<!-- parrot -->"

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/vocabulary": Resource(
            "vocabulary", Policy.USE, get=(vocabulary, "The phrases that the parrot knows.")
        )
    }


PARROT = Face(
    Standard(
        "parrot",
        template={
            "command": ["true"],
            "parameters": [{"name": "PHRASE", "arraysize": "*", "required": True, "description": "What to say."}],
            "results": [{"id": "result", "path": "phrase.json", "media_type": "application/json"}],
        },
        section="parrot",
        section_schema={
            "type": "object",
            "properties": {"phrases": {"type": "array", "items": {"type": "string"}}},
            "required": ["phrases"],
            "additionalProperties": False,
        },
    ),
    ParrotHandlers,
)


def manual(backend: Backend) -> Mapping[str, Resource]:
    """Return a resource that lists the parameters of an application."""

    async def read(request: Request) -> Response:
        application = backend.service.application(request.path_params["application"])
        return JSONResponse({parameter.name: parameter.description for parameter in application.parameters})

    return {"/{application}/manual": Resource("manual", Policy.USE, get=(read, "What the parameters are for."))}
