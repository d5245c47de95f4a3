"""A warm query process: answers one question after the other, told and given back over a socket (`frames`).

It ends when the service closes the socket. The service kills it when a query takes too long.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uws_service.domain.errors import UwsError
from uws_service.tap.answer import Answerer, Question
from uws_service.tap.frames import HEAD, LONGEST, Kind, frame, json_frame, opened
from uws_service.tap.tables_source import Place

SLACK = 512 * 1024**2
"""Bytes for what is loaded with the first query."""
STACKS = 16 * 1024**2
"""Bytes for the stacks of the engine's threads, for each core."""


class Gone(Exception):
    """The service has closed its end."""


def received(connection: socket.socket, length: int) -> bytes:
    """So many bytes."""
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise Gone
        parts += part
    return bytes(parts)


def bind_memory(size: int) -> None:
    """From here on this process gets so many bytes of memory, and is the first to go where the machine has none.

    The engine keeps its own bound; readers of uploaded files have none, and a file of a kilobyte can hold a terabyte.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    with open("/proc/self/statm") as told:
        held = int(told.read().split()[5]) * resource.getpagesize()
    most = held + size + SLACK + STACKS * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def serve(connection: socket.socket, answerer: Answerer) -> None:
    """Answer until the service has gone."""
    connection.sendall(frame(Kind.READY))
    bound = False
    while True:
        kind, length = opened(received(connection, HEAD.size))
        content = received(connection, length)
        if kind is not Kind.QUESTION:
            return
        try:
            asked = json.loads(content)
            if not bound:
                bind_memory(2 * asked["memory"])  # the engine has one half
                bound = True
            waiting = b""  # a small result goes out in one piece
            for part in _answer(asked, answerer):
                if waiting:
                    connection.sendall(waiting)
                waiting = part
            connection.sendall(waiting + frame(Kind.END))
        except UwsError as error:
            told = {"status": error.status, "message": error.message, "detail": error.detail}
            connection.sendall(json_frame(Kind.FAULT, told))


def _answer(asked: dict[str, Any], answerer: Answerer) -> Iterator[bytes]:
    """Frames of the result: BEGIN once the query is known to work, small parts of it put together."""
    uploads = {name: Path(path) for name, path in asked["files"].items()}
    question = Question(asked["query"], asked["form"], asked["maxrec"], uploads, asked["seconds"], asked["memory"])
    head = frame(Kind.BEGIN)
    for part in _gathered(answerer.answer(question)):
        yield head + frame(Kind.DATA, part)
        head = b""


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for part in parts:
        waiting += part
        while len(waiting) > LONGEST:
            yield bytes(waiting[:LONGEST])
            del waiting[:LONGEST]
    yield bytes(waiting)


def main() -> int:
    """Serve the socket whose number is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--temporary", type=Path, required=True)
    parser.add_argument("--folder", default="")
    parser.add_argument("--postgresql", default="")
    parser.add_argument("--schemas", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then closes the socket
    place = Place(options.folder, options.postgresql, tuple(options.schemas.split()))
    answerer = Answerer(place, options.temporary)
    with contextlib.suppress(Gone, ConnectionError), socket.socket(fileno=options.socket) as connection:
        serve(connection, answerer)
    answerer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
