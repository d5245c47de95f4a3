"""Load over HTTP from this machine.

Requests a second of a few plain connections, and many idle waiters.

A raw asyncio client of a few lines, so that the client costs less than the server that is measured. All runs are
bounded in time and go to the loopback address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

CONNECTIONS = 16


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = 0
    for line in head.split(b"\r\n")[1:]:
        if line[:15].lower() == b"content-length:":
            length = int(line[15:])
    return status, await reader.readexactly(length) if length else b""


def request_bytes(url: str, method: str = "GET", body: bytes = b"", headers: str = "") -> bytes:
    """Return the bytes of a request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    body_headers = f"Content-Length: {len(body)}\r\nContent-Type: application/x-www-form-urlencoded\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}{body_headers}\r\n".encode() + body


async def rate(
    url: str,
    make: Callable[[int], bytes],
    *,
    seconds: float = 2.0,
    connections: int = CONNECTIONS,
    expect: int = 200,
) -> float:
    """Return the requests a second over a few connections.

    Every answer must have the expected status.
    """
    parts = urlsplit(url)
    end = time.perf_counter() + seconds
    responses = 0

    async def connect(number: int) -> None:
        nonlocal responses
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        count = number
        while time.perf_counter() < end:
            writer.write(make(count))
            status, body = await _read_answer(reader)
            if status != expect:
                raise RuntimeError(f"{status}: {body[:200]!r}")
            count += connections
            responses += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connect(number) for number in range(connections)))
    return responses / (time.perf_counter() - began)


async def median_ratio(
    service: Callable[[], Awaitable[float]], bare: Callable[[], Awaitable[float]], rounds: int = 5
) -> tuple[float, float, float]:
    """Measure the service and the bare app in turns.

    So the machine's moods meet both. Return the median ratio and the two rates.
    """
    pairs = []
    for _ in range(rounds):
        reference = await bare()
        pairs.append((await service() / reference, reference))
    pairs.sort()
    ratio, reference = pairs[len(pairs) // 2]
    return ratio, ratio * reference, reference
