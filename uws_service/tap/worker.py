"""A warm query process.

It receives queries and returns results over a socket (`frames`), one after the other. It ends when the service closes
the socket. The service kills it when a query takes too long.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from uws_service.domain.errors import UwsError
from uws_service.tap.answer import QueryRequest, QueryRunner
from uws_service.tap.engines.errors import QueryTooLarge
from uws_service.tap.frames import HEAD, MAX_FRAME_BYTES, Kind, frame, json_frame, parse_head
from uws_service.tap.tables_source import TablesSource

LOADING_BYTES = 512 * 1024**2
"""Bytes for what is loaded with the first query."""
STACK_BYTES = 16 * 1024**2
"""Bytes for the stacks of the engine's threads, for each core."""


class Disconnected(Exception):
    """The service has closed its end."""


def received(connection: socket.socket, length: int) -> bytes:
    """Receive so many bytes."""
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise Disconnected
        parts += part
    return bytes(parts)


def bind_memory(size: int) -> None:
    """Limit this process's memory.

    It is also the first to be killed when the machine runs out of memory. The engine keeps its own limit; readers of
    uploaded files have none, and a file of a kilobyte can hold a terabyte.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[5]) * resource.getpagesize()
    limit = resident + size + LOADING_BYTES + STACK_BYTES * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


Answer = Callable[[dict[str, Any]], Iterator[bytes]]
"""Takes a request; yields the frames of its answer, BEGIN first."""


def serve(connection: socket.socket, answer: Answer) -> None:
    """Answer requests until the service disconnects.

    Each says how much memory it may need.
    """
    connection.sendall(frame(Kind.READY))
    is_limited = False
    while True:
        kind, length = parse_head(received(connection, HEAD.size))
        content = received(connection, length)
        if kind is not Kind.QUERY:
            return
        try:
            request = json.loads(content)
            if not is_limited:
                bind_memory(2 * request["memory"])  # the engine has one half
                is_limited = True
            pending = b""  # a small result goes out in one piece
            for part in answer(request):
                if pending:
                    connection.sendall(pending)
                pending = part
            connection.sendall(pending + frame(Kind.END))
        except UwsError as error:
            fault = {"status": error.status, "message": error.message, "detail": error.detail}
            fault["bounded"] = isinstance(error, QueryTooLarge)
            connection.sendall(json_frame(Kind.FAULT, fault))


def _answer(runner: QueryRunner, request: dict[str, Any]) -> Iterator[bytes]:
    """Yield frames of the result, BEGIN first.

    BEGIN is sent once the query has started; small parts are joined.
    """
    uploads = {name: Path(path) for name, path in request["files"].items()}
    query = QueryRequest(
        request["query"], request["form"], request["maxrec"], uploads, request["seconds"], request["memory"]
    )
    if "first_rows" in request:
        parts = iter([json.dumps(runner.overview(query, request["first_rows"])).encode()])
    else:
        parts = runner.answer(query)
    head = json_frame(Kind.BEGIN, runner.notes) if runner.notes else frame(Kind.BEGIN)
    for part in gathered(parts):
        yield head + frame(Kind.DATA, part)
        head = b""


def gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Join small parts, and cut what does not fit into a frame."""
    pending = bytearray()
    for part in parts:
        pending += part
        while len(pending) > MAX_FRAME_BYTES:
            yield bytes(pending[:MAX_FRAME_BYTES])
            del pending[:MAX_FRAME_BYTES]
    yield bytes(pending)


def main() -> int:
    """Serve the socket with the given number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--temporary", type=Path, required=True)
    parser.add_argument("--folder", default="")
    parser.add_argument("--postgresql", default="")
    parser.add_argument("--schemas", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then closes the socket
    source = TablesSource(options.folder, options.postgresql, tuple(options.schemas.split()))
    runner = QueryRunner(source, options.temporary)
    with contextlib.suppress(Disconnected, ConnectionError), socket.socket(fileno=options.socket) as connection:
        serve(connection, partial(_answer, runner))
    runner.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
