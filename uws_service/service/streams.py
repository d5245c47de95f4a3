"""Streams of events, for clients that follow jobs (E-001…E-007).

Every stream is a queue that the feed fills; it costs no thread, and no query while nothing happens. A client that comes
back with the number of the last event that it has gets what it missed from the history, up to the feed's horizon, and
then what the feed brings: the same events in the same order, in every process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from uws_service.domain.errors import ServiceUnavailable, TooManyRequests
from uws_service.domain.events import EVENT_NAMES, EventKind, JobEvent
from uws_service.domain.job import FINAL, Job, Phase, Standing
from uws_service.service.access import JobAccess
from uws_service.service.blocked import Blocked
from uws_service.service.caller import Caller
from uws_service.service.followed import FollowedProgress, ProgressEvent
from uws_service.service.limits import Limits

MAX_QUEUE = 512
"""Events that wait for a slow reader; with more it is sent away, and resumes."""
MAX_STANDINGS = 1000
"""Jobs of the first event of a list."""
PAGE = 500
RETRY_SECONDS = 15
Followed = JobEvent | ProgressEvent


@dataclass(frozen=True, slots=True)
class Topic:
    """What a stream is about.

    A job, or an owner's jobs of an application or of all (None).
    """

    owner_key: str
    job_id: str = ""
    application: str | None = None


@dataclass(eq=False, slots=True)
class Stream:
    """A client that follows jobs."""

    topic: Topic
    party: str
    is_owner: bool = True
    after: int = 0
    """Number of the last event that the client has."""
    versions: dict[str, int] = field(default_factory=dict)
    """Of the jobs in the first event: what it tells already is not told again."""
    executing: set[str] = field(default_factory=set)
    has_ended: bool = False
    has_overflown: bool = False
    _queue: deque[Followed] = field(default_factory=deque)
    _waker: asyncio.Future[None] | None = None

    def put(self, event: Followed) -> None:
        """Add an event.

        End the stream if its reader is too far behind.
        """
        if len(self._queue) >= MAX_QUEUE:
            self.has_overflown = True
            self._queue.clear()
            self.end()
        elif not self.has_ended:
            self._queue.append(event)
            self._wake()

    def end(self) -> None:
        """Let the stream end after what is in its queue."""
        self.has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def next(self, timeout: float) -> Followed | None:
        """Return the next event.

        None: there is none in time, or no more at all.
        """
        if not self._queue and not self.has_ended:
            loop = asyncio.get_running_loop()
            self._waker = loop.create_future()
            handle = loop.call_later(timeout, self._wake)
            try:
                await self._waker
            finally:
                handle.cancel()
                self._waker = None
        return self._queue.popleft() if self._queue else None

    def is_news(self, event: JobEvent) -> bool:
        """Return whether the client does not have an event yet."""
        if event.seq <= self.after or event.kind not in EVENT_NAMES:
            return False
        return self.versions.get(event.job_id, 0) < event.version or event.kind == EventKind.REPORT


@dataclass(frozen=True, slots=True)
class Opening:
    """How a stream begins."""

    number: int
    """Of the event that the present state is of."""
    job: Job | None = None
    standings: Sequence[Standing] = ()
    has_more: bool = False
    is_reset: bool = False
    """The number that the client came with is not known, or too old."""
    resumes: bool = False
    """Nothing but what was missed is to be sent."""
    is_over: bool = False
    """The job has ended, and the client knows it."""


class Streams:
    """All streams of one process.

    Parameters
    ----------
    access
        The jobs, checked against callers.
    limits
        How many streams one caller may have.
    blocked
        The count of streams and of waiters.
    """

    def __init__(self, access: JobAccess, limits: Limits, blocked: Blocked) -> None:
        self.access = access
        self.store = access.store
        self.limits = limits
        self.blocked = blocked
        self._of_job: dict[str, set[Stream]] = {}
        self._of_owner: dict[str, set[Stream]] = {}
        self._parties: dict[str, int] = {}
        self._progress = FollowedProgress(self.store.overview)
        self._is_draining = False
        self.store.feed.listen(self._spread)

    def open(self, topic: Topic, party: str, *, is_owner: bool = True) -> Stream:
        """Open a stream, to be closed by `close`.

        Raises
        ------
        TooManyRequests, ServiceUnavailable
            The caller, or the process, has too many.
        """
        if self._is_draining or not self.blocked.has_room_for_stream():
            raise ServiceUnavailable("The service has too many streams of events now.", retry_after=RETRY_SECONDS)
        number = self._parties.get(party, 0)
        if number >= self.limits.streams_each:
            raise TooManyRequests(
                f"You follow events by {number} streams already; one over all jobs is enough.",
                retry_after=RETRY_SECONDS,
            )
        stream = Stream(topic, party, is_owner)
        self.blocked.streams += 1
        self._parties[party] = number + 1
        groups, key = (self._of_job, topic.job_id) if topic.job_id else (self._of_owner, topic.owner_key)
        groups.setdefault(key, set()).add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream."""
        topic = stream.topic
        groups, key = (self._of_job, topic.job_id) if topic.job_id else (self._of_owner, topic.owner_key)
        group = groups.get(key, set())
        if stream not in group:
            return
        group.discard(stream)
        if not group:
            del groups[key]
        self._progress.drop(stream)
        self.blocked.streams -= 1
        self._parties[stream.party] -= 1
        if not self._parties[stream.party]:
            del self._parties[stream.party]

    def drain(self) -> None:
        """End all streams.

        The process is about to end.
        """
        self._is_draining = True
        for groups in (self._of_job, self._of_owner):
            for streams in groups.values():
                for stream in streams:
                    stream.end()

    async def begin(self, stream: Stream, caller: Caller, application: str, after: int | None) -> Opening:
        """Return how an open stream begins: with the present state, or behind the event of a number.

        Raises
        ------
        NotFound, Forbidden, AuthenticationRequired
            As `JobAccess.get`, of a stream of one job.
        """
        topic = stream.topic
        number = stream.after = self.store.feed.horizon
        job = await self.access.get(application, topic.job_id, caller) if topic.job_id else None
        if after is not None and await self._knows(after):
            stream.after = after
            missed = await self.store.history.of_job_since(topic.job_id, after, 1) if job is not None else []
            is_over = job is not None and job.phase in FINAL and not missed
            if job is not None and job.phase is Phase.EXECUTING:
                self._progress.add(stream, job.id)
            return Opening(after, resumes=True, is_over=is_over)
        is_reset = after is not None
        if job is not None:
            stream.versions[job.id] = job.version
            if job.phase is Phase.EXECUTING:
                self._progress.add(stream, job.id)
            if job.phase in FINAL:
                stream.end()
            return Opening(number, job=job, is_reset=is_reset)
        standings = await self.store.overview.standings(topic.owner_key, topic.application, MAX_STANDINGS + 1)
        has_more = len(standings) > MAX_STANDINGS
        for standing in standings[:MAX_STANDINGS]:
            stream.versions[standing.id] = standing.version
            if standing.phase == Phase.EXECUTING:
                self._progress.add(stream, standing.id)
        return Opening(number, standings=standings[:MAX_STANDINGS], has_more=has_more, is_reset=is_reset)

    async def missed(self, stream: Stream) -> AsyncIterator[JobEvent]:
        """Yield what happened after the client's last event, up to where the feed was when the stream was opened."""
        final = self.store.feed.horizon
        after = stream.after
        while after < final:
            page = await self._page(stream.topic, after, final)
            for event in page:
                if event.seq > final or not _concerns(stream.topic, event) or not stream.is_news(event):
                    continue
                yield event
                if stream.topic.job_id and _is_last(event):
                    stream.end()
            if len(page) < PAGE:
                break
            after = page[-1].seq
        stream.after = max(stream.after, final)

    async def _page(self, topic: Topic, after: int, final: int) -> list[JobEvent]:
        history = self.store.history
        if topic.job_id:
            return await history.of_job_since(topic.job_id, after, PAGE)
        return await history.of_owner_between(topic.owner_key, after, final, PAGE)

    async def _knows(self, number: int) -> bool:
        """Return whether all events above a number are in the history."""
        first, last = await self.store.history.span()
        return first - 1 <= number <= max(last, self.store.feed.horizon)

    def _spread(self, events: Sequence[JobEvent]) -> None:
        """Hand events to the streams that they concern."""
        if not self.blocked.streams:
            return
        for event in events:
            streams = [*self._of_job.get(event.job_id, ()), *self._of_owner.get(event.owner_key, ())]
            for stream in streams:
                if _concerns(stream.topic, event):
                    self._hand(stream, event)
            if streams and event.phase != Phase.EXECUTING:
                self._progress.end(event.job_id)

    def _hand(self, stream: Stream, event: JobEvent) -> None:
        if event.kind == EventKind.UNSHARED and not stream.is_owner:
            stream.end()  # whoever may still read the job comes back
        if not stream.is_news(event):
            return
        stream.put(event)
        if event.phase == Phase.EXECUTING and event.kind == EventKind.PHASE:
            self._progress.add(stream, event.job_id)
        if stream.topic.job_id and _is_last(event):
            stream.end()


def _is_last(event: JobEvent) -> bool:
    """Return whether a stream of the job ends with an event."""
    return event.kind == EventKind.DELETED or event.phase in FINAL


def _concerns(topic: Topic, event: JobEvent) -> bool:
    """Return whether an event of a topic's job or owner is in its application."""
    return topic.application is None or topic.application == event.application
