"""Connections to the web server, bounded.

In size of a head, in time, and in number.

Each connection is in one of four states: between requests, sending a head, sending a body, or waiting for us. Once a
second all are looked at, so that a request costs no timer. When there are as many as there may be, those that keep us
waiting the longest make room for new ones.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, ClassVar

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from uws_service.telemetry import REGISTRY

log = structlog.get_logger(__name__)

MOST_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 100
HEAD_SECONDS = 20.0
"""For all of a head, however it comes."""
BODY_SECONDS = 30.0
"""For a body before its rate counts, and for an answer that nobody takes."""
MIN_BYTES_PER_SECOND = 512
"""Bytes a second of a body, and of an answer that waits for its reader."""
MAX_UNREAD_BYTES = 256 * 1024**2
"""Bytes of all answers that wait in memory for their readers; beyond it the largest and slowest end."""
EVICTION_BYTES_PER_SECOND = 16 * 1024
"""Bytes a second; a body that comes slower may make room when there are too many connections."""
LINGER_SECONDS = 10.0
"""For the rest of a body whose request is answered."""
REFUSED_SECONDS = 2.0
"""For a client to read why it is refused: closed at once, the connection would be reset before."""
MAX_PIPELINED = 32
"""Requests that wait in one connection."""
KEEP_ALIVE_SECONDS = 75.0
"""Longer than the idle time of common proxies, so that none meets a connection that we are just closing."""
SWEEP_SECONDS = 1.0
RESERVED_DESCRIPTORS = 256
"""For the controllers, the database, the depot and the files of answers."""
MAX_DESCRIPTORS = 65_536
"""What the soft limit is raised to; some programs take the longer to start, the higher it is."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as it may be; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        soft = highest
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def free_descriptors() -> int:
    """Return how many file descriptors connections and their files may have; the rest of the service needs some."""
    descriptors = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MAX_DESCRIPTORS)
    if descriptors < 0:  # no limit
        descriptors = MAX_DESCRIPTORS
    return max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2)


def most_blocked() -> int:
    """Return how many connections may wait for jobs and events: three quarters of all that there may be then."""
    return max(1, free_descriptors() * 3 // 5)


def most_connections(blocked: int) -> int:
    """Return how many connections this process may have.

    Each may need a file beside it, but for the ``blocked`` ones that wait for jobs and events.
    """
    return (free_descriptors() + blocked) // 2


def blocked_connections() -> int:
    """Return how many connections wait for jobs and events now."""
    return int(sum(REGISTRY.get_sample_value(name) or 0 for name in ("uws_waiters", "uws_streams")))


IDLE, HEAD, BODY, ANSWERING, REFUSED = "idle", "head", "body", "answering", "refused"
"""States of a connection: between requests, a head comes, a body comes, it waits for us, it is told no."""


class TooLargeHead(Exception):
    """More bytes or fields than are taken."""


class Sweeper:
    """Ends the connections of one process that take too long, or are too many."""

    def __init__(self, connections: set[BoundedProtocol]) -> None:
        self.connections = connections
        self._least = most_connections(0)
        self._warned = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        try:
            for connection in list(self.connections):
                connection.check(now)
            self._end_unread(now)
        finally:
            self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _end_unread(self, now: float) -> None:
        """Keep the answers that nobody takes within the memory that they may have."""
        sizes = {connection: connection.unread_bytes for connection in self.connections if connection.flow.write_paused}
        surplus = sum(sizes.values()) - MAX_UNREAD_BYTES
        if surplus <= 0:
            return
        ended = 0
        for connection in sorted(
            sizes, key=lambda slow: sizes[slow] * (SWEEP_SECONDS + slow.behind(now)), reverse=True
        ):
            connection.transport.abort()
            ended += 1
            surplus -= sizes[connection]
            if surplus <= 0:
                break
        log.warning("answers that nobody takes need too much memory", most_bytes=MAX_UNREAD_BYTES, ended=ended)

    @property
    def has_too_many(self) -> bool:
        """Return whether there are more connections than there may be."""
        return len(self.connections) > self._least and len(self.connections) > most_connections(blocked_connections())

    def make_room(self, latest: BoundedProtocol) -> bool:
        """Return whether there is room for the connection that has just come, if need be at the cost of others."""
        now = self._loop.time()
        lagging = [(connection.behind(now), connection) for connection in self.connections if connection is not latest]
        waiting = sorted(((lag, connection) for lag, connection in lagging if lag > 0), key=lambda pair: -pair[0])
        surplus = waiting[: max(1, self._least // 16)]
        for _, connection in surplus:
            self.connections.discard(connection)
            connection.transport.abort()
        if now - self._warned > 10:
            self._warned = now
            log.warning("too many connections", most=len(self.connections), ended=len(surplus))
        return bool(waiting)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds."""

    # With more than thirty attributes in its dictionary each connection would have keys of its own, over a kilobyte.
    __slots__ = ("_body_bytes", "_full", "_now", "_progress", "_silent_bytes", "_unread", "since", "state")

    sweeper: ClassVar[Sweeper | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state: str = IDLE
        self.since = 0.0
        self._now = 0.0
        self._silent_bytes = 0
        """Bytes since the parser came to the end of a head or to bytes of a body."""
        self._body_bytes = 0
        self._progress = False
        self._full = False
        self._unread: tuple[float, int] | None = None
        """Since when an answer waits for its reader, and how many bytes of it waited then."""

    # --- what uvicorn's protocol tells ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.state, self.since = HEAD, self.loop.time()
        sweeper = self.sweeper
        if sweeper is None or sweeper.connections is not self.connections:
            sweeper = BoundedProtocol.sweeper = Sweeper(self.connections)  # type: ignore[arg-type]
        if sweeper.has_too_many and not sweeper.make_room(self):
            self._refuse(503, "The service has too many connections; try again in a few seconds.")

    def data_received(self, data: bytes) -> None:
        """Take bytes as uvicorn does, within bounds."""
        if self.state is REFUSED:
            return
        self._now = self.loop.time()
        if self.state is IDLE:
            self.state, self.since = HEAD, self._now
        self._progress = False
        self._silent_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            if self._full:
                self._refuse_head()
            else:
                self._refuse(400, "Invalid HTTP request received.")
            return
        if self._progress:
            self._silent_bytes = 0
        elif self._silent_bytes > MOST_HEAD_BYTES:
            self._refuse_head()

    def on_headers_complete(self) -> None:
        self._progress = True
        if (
            len(self.headers) > MAX_FIELDS
            or (self._silent_bytes > MOST_HEAD_BYTES and self._head_bytes() > MOST_HEAD_BYTES)
            or len(self.pipeline) >= MAX_PIPELINED
        ):
            self._full = True
            raise TooLargeHead
        self.state, self.since, self._body_bytes = BODY, self._now, 0
        super().on_headers_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._progress = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        if len(self.headers) > MAX_FIELDS:  # with those behind the body
            self._full = True
            raise TooLargeHead
        self.state, self.since = (IDLE if self.cycle.response_complete else ANSWERING), self._now
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note the end of an answer, without uvicorn's timer.

        The sweeper ends what is idle for too long.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            if self.state is ANSWERING:
                self.state = IDLE
            self.since = self.loop.time()  # of the rest of a body too, if all of it did not come

    # --- bounds -----------------------------------------------------------------------------------------------

    @property
    def unread_bytes(self) -> int:
        """Return the bytes that wait for the client to take them."""
        return self.transport.get_write_buffer_size()

    def behind(self, now: float) -> float:
        """Return seconds that the connection's client keeps us waiting.

        0: it does not. Idle ones are far behind.
        """
        if self.state is IDLE or self.state is REFUSED or self.transport.is_closing():
            return 1e6 + now - self.since
        if self.state is HEAD:
            return now - self.since
        if self._unread is not None:
            return now - self._unread[0] - 1
        if self.state is BODY and not self._we_wait():
            return now - self.since - 1 - self._body_bytes / EVICTION_BYTES_PER_SECOND
        return 0.0

    def check(self, now: float) -> None:
        """End the connection if its client takes too long."""
        if self.flow.write_paused or self.transport.is_closing():
            self._check_reader(now)
            return
        self._unread = None
        waited = now - self.since
        if self.state is HEAD and waited > HEAD_SECONDS:
            if self._silent_bytes:
                self._refuse(408, f"The head of the request did not come within {HEAD_SECONDS:.0f} s.")
            else:
                self.transport.close()
        elif self.state is IDLE and waited > KEEP_ALIVE_SECONDS:
            self.transport.close()
        elif self.state is REFUSED and waited > REFUSED_SECONDS:
            self.transport.abort()
        elif self.state is BODY:
            self._check_body(now, waited)

    def _we_wait(self) -> bool:
        """Return whether it is we who keep a body from coming."""
        cycle = self.cycle
        return self.flow.read_paused or (cycle.waiting_for_100_continue and not cycle.response_complete)

    def _check_body(self, now: float, waited: float) -> None:
        if self.cycle.response_complete:
            if waited > LINGER_SECONDS:
                self.transport.close()
        elif self._we_wait():  # the time does not count
            self.since, self._body_bytes = now, 0
        elif waited > BODY_SECONDS:
            if self._body_bytes < MIN_BYTES_PER_SECOND * waited:
                self._refuse(408, f"The body of the request comes slower than {MIN_BYTES_PER_SECOND} bytes a second.")
            else:
                self.since, self._body_bytes = now, 0

    def _check_reader(self, now: float) -> None:
        """End a connection whose client does not take its answer."""
        size = self.transport.get_write_buffer_size()
        if self._unread is None:
            self._unread = (now, size)
            return
        waited = now - self._unread[0]
        if waited > BODY_SECONDS:
            if self._unread[1] - size < MIN_BYTES_PER_SECOND * waited:
                self.transport.abort()
            else:
                self._unread = (now, size)

    def _refuse_head(self) -> None:
        self._refuse(
            431, f"The head of a request has at most {MAX_FIELDS} fields and {MOST_HEAD_BYTES} bytes together."
        )

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close.

        Only close if another answer is on its way.
        """
        if self.state is REFUSED or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.abort()
                return
        body = message.encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n%s\r\n%s"
            % (status, _PHRASES[status], len(body), b"retry-after: 5\r\n" if status == 503 else b"", body)
        )
        if status == 503 or not self.transport.can_write_eof():  # its descriptor is needed
            self.transport.close()
            return
        self.state, self.since = REFUSED, self.loop.time()
        self.flow.resume_reading()
        self.transport.write_eof()


_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}
