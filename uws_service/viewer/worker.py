"""A process that reads results: files that may be anything, within bounds.

It gets requests and sends answers over a socket, as the processes of queries do (`uws_service.tap.worker`). The
service kills it when a file takes too long.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uws_service.domain.errors import UwsError
from uws_service.tap.frames import Kind, frame
from uws_service.tap.readers import Unreadable
from uws_service.tap.worker import Disconnected, gathered, serve
from uws_service.viewer.contents import contents
from uws_service.viewer.copy import Copy, encoded, first_rows, make_copy, text_rows, typed_rows

MAX_FILE_BYTES = 16 << 30
"""Bytes of a file that this process writes, such as an unpacked table."""
MAX_PAGE_BYTES = 64 << 20
"""Bytes of a page of rows: a cell may hold any amount."""


def answer(request: dict[str, Any]) -> Iterator[bytes]:
    """Yield the frames of an answer, BEGIN first.

    Raises
    ------
    UwsError
        The file is no table or image, or it is broken; the message is for people.
    """
    try:
        parts = _OPERATIONS[request["operation"]](request)
    except UwsError:
        raise
    except MemoryError:
        raise Unreadable("The result needs more memory to be looked into than there is.") from None
    except Exception as error:  # whatever a reader raises is the file's fault
        text = " ".join(str(error).split())[:300]
        raise Unreadable(f"The result can't be looked into: {text or type(error).__name__}") from error
    head = frame(Kind.BEGIN)
    for part in gathered(parts):
        yield head + frame(Kind.DATA, part)
        head = b""


def _contents(request: dict[str, Any]) -> Iterator[bytes]:
    return encoded(contents(Path(request["path"])))


def _copy(request: dict[str, Any]) -> Iterator[bytes]:
    return encoded(make_copy(Path(request["path"]), Path(request["copy"]), request["copy_size"]))


def _first(request: dict[str, Any]) -> Iterator[bytes]:
    return encoded(first_rows(Path(request["path"]), request["limit"]))


def _rows(request: dict[str, Any]) -> Iterator[bytes]:
    page = Copy(Path(request["copy"])).page(
        request["offset"], request["limit"], request["sort"], descending=request["descending"]
    )
    if page.nbytes > MAX_PAGE_BYTES:
        raise Unreadable(f"These rows have {page.nbytes} bytes; ask for fewer.")
    return encoded({"rows": typed_rows(page) if request["typed"] else text_rows(page)})


def _picture(request: dict[str, Any]) -> Iterator[bytes]:
    from uws_service.soda.preview import write_preview

    target = Path(request["picture"])
    draft = target.with_suffix(".draft")
    write_preview(Path(request["path"]), draft)
    draft.replace(target)
    return iter([b"{}"])


_OPERATIONS = {"contents": _contents, "copy": _copy, "first": _first, "rows": _rows, "picture": _picture}


def main() -> int:
    """Serve the socket with the given number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then closes the socket
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(Disconnected, ConnectionError), socket.socket(fileno=options.socket) as connection:
        serve(connection, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
