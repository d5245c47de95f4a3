"""Streams of events of a job, of an application's jobs, and of all (E-001…E-007; no part of UWS).

The same access as to the job or the list. A stream lives ten minutes at most, then the client comes back with the
number of the last event that it has, and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from uws_service import telemetry
from uws_service.auth.policy import Policy
from uws_service.auth.quotas import party_of
from uws_service.domain.events import JobEvent
from uws_service.domain.job import Standing
from uws_service.protocol import sse
from uws_service.protocol.uws import format_instant
from uws_service.service.backend import Backend
from uws_service.service.followed import ProgressEvent
from uws_service.service.streams import Opening, Stream, Streams, Topic
from uws_service.web.call import call_of
from uws_service.web.job_handlers import JobPath, query_value, query_values
from uws_service.web.job_overview import owns
from uws_service.web.resource import Resource

HEARTBEAT_SECONDS = 15.0
LIFE_SECONDS = 600.0
"""Of one stream (E-005): tokens and shares end, and load balancers lose patience."""
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Events:
    """Handlers of ``/events``, ``{jobs}/events`` and ``{job}/events``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.streams = backend.service.streams

    async def of_job(self, request: Request) -> Response:
        """GET {job}/events: until the job has ended, then 204."""
        path, caller = JobPath.of(request), call_of(request).caller
        job = await self.service.get(path.application, path.job_id, caller)
        topic = Topic(job.owner or "", path.job_id)
        return await self._stream(request, topic, path.application, is_owner=owns(job, call_of(request)))

    async def of_application(self, request: Request) -> Response:
        """GET {jobs}/events: the caller's jobs of an application."""
        application = self.service.application(request.path_params["application"])
        owner_key = self.service.views.owner_key(call_of(request).caller)
        return await self._stream(request, Topic(owner_key, application=application.name), application.name)

    async def of_all(self, request: Request) -> Response:
        """GET /events: all jobs of the caller."""
        return await self._stream(request, Topic(self.service.views.owner_key(call_of(request).caller)), "")

    async def _stream(self, request: Request, topic: Topic, application: str, *, is_owner: bool = True) -> Response:
        call = call_of(request)
        call.waited = True
        after = sse.lenient_number(request.headers.get("last-event-id"))
        if after is None:
            after = sse.parse_number(query_value(query_values(request), "AFTER"), "AFTER")
        if request.method == "HEAD":
            return Response(status_code=200, headers={**HEADERS, "content-type": sse.MEDIA_TYPE})
        stream = self.streams.open(topic, party_of(call.identity, call.origin), is_owner=is_owner)
        try:
            opening = await self.streams.begin(stream, call.caller, application, after)
        except BaseException:
            self.streams.close(stream)
            raise
        if opening.is_over:
            self.streams.close(stream)
            return Response(status_code=204, headers=HEADERS)
        return EventStream(self.streams, stream, opening, call.base)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{application}/async/events": Resource(
            "jobs_events",
            Policy.LIST,
            get=(of_application, "[Events](events.md) of the caller's jobs here, as `text/event-stream`."),
        ),
        "/{application}/async/{job_id}/events": Resource(
            "job_events",
            Policy.READ,
            get=(
                of_job,
                "[Events](events.md) of the job, as `text/event-stream`. `Last-Event-ID` or `AFTER=number` resumes; "
                "204 once it has ended and all was told.",
            ),
        ),
        "/events": Resource(
            "events", Policy.OWN, get=(of_all, "[Events](events.md) of all jobs of the caller, as `text/event-stream`.")
        ),
    }


class EventStream(Response):
    """A stream as a response.

    It is written until the client, the stream or its time ends.
    """

    def __init__(self, streams: Streams, stream: Stream, opening: Opening, base: str) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self.headers["content-type"] = sse.MEDIA_TYPE
        self.streams = streams
        self.stream = stream
        self.opening = opening
        self.base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.ensure_future(_end_when_gone(receive, self.stream))
        telemetry.STREAMS.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._write(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watch.cancel()
            self.streams.close(self.stream)
            telemetry.STREAMS.dec()
            telemetry.STREAMS_ENDED.labels("slow" if self.stream.has_overflown else "other").inc()

    async def _write(self, send: Send) -> None:
        stream = self.stream
        retry = True

        async def tell(name: str, data: Mapping[str, Any], number: int | None = None) -> None:
            nonlocal retry
            body = sse.block(name, data, number=number, retry=retry)
            retry = False
            await send({"type": "http.response.body", "body": body, "more_body": True})

        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIFE_SECONDS
        if not self.opening.resumes:
            await tell(*self._present(), self.opening.number)
        else:
            async for event in self.streams.missed(stream):
                await tell(*self._told(event), event.seq)
        while (remaining := deadline - loop.time()) > 0:
            item = await stream.next(min(HEARTBEAT_SECONDS, remaining))
            if isinstance(item, ProgressEvent):
                await tell("progress", self._progress(item))
            elif item is not None:
                if item.seq > stream.after:
                    stream.after = item.seq
                    await tell(*self._told(item), item.seq)
            elif stream.has_ended:
                return
            else:
                await send({"type": "http.response.body", "body": sse.HEARTBEAT, "more_body": True})

    def _url(self, application: str, job_id: str) -> str:
        return f"{self.base}/{application}/async/{job_id}"

    def _told(self, event: JobEvent) -> tuple[str, Mapping[str, Any]]:
        data = sse.job_event(event, self._url(event.application, event.job_id))
        return data["event"], data

    def _progress(self, event: ProgressEvent) -> Mapping[str, Any]:
        return {
            "job": self._url(event.application, event.job_id),
            "id": event.job_id,
            "application": event.application,
            "event": "progress",
            "progress": event.progress,
            "message": event.message,
        }

    def _present(self) -> tuple[str, Mapping[str, Any]]:
        """Return the first event.

        Where the job stands, or all the jobs.
        """
        opening = self.opening
        if opening.job is None:
            jobs = [self._standing(standing) for standing in opening.standings]
            return "reset" if opening.is_reset else "jobs", {"jobs": jobs, "more": opening.has_more}
        job = opening.job
        changed = max(filter(None, (job.created, job.queued, job.started, job.ended)))
        event = JobEvent(0, job.id, job.version, changed, "PHASE", job.phase, job.application, job.owner or "")
        name, data = self._told(event)
        return "reset" if opening.is_reset else name, data

    def _standing(self, standing: Standing) -> Mapping[str, Any]:
        return {
            "job": self._url(standing.application, standing.id),
            "id": standing.id,
            "application": standing.application,
            "phase": standing.phase,
            "version": standing.version,
            "runId": standing.run_id,
            "created": format_instant(standing.created),
        }


async def _end_when_gone(receive: Receive, stream: Stream) -> None:
    """End a stream when its client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()
