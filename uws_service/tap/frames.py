"""Messages between the service and a query process.

They travel over a pair of sockets: a kind, a length, bytes.
"""

from __future__ import annotations

import json
import struct
from enum import StrEnum
from typing import Any

HEAD = struct.Struct(">cI")
MAX_FRAME_BYTES = 1 << 20


class Kind(StrEnum):
    """Kinds of frames.

    READY comes from a new process. QUERY goes to it; BEGIN (with notes on uploads, if there are any), DATA and END
    come back, or a FAULT instead.
    """

    READY = "R"
    QUERY = "Q"
    BEGIN = "B"
    DATA = "D"
    END = "E"
    FAULT = "F"


def frame(kind: Kind, content: bytes = b"") -> bytes:
    """Encode a frame."""
    return HEAD.pack(kind.encode(), len(content)) + content


def json_frame(kind: Kind, content: Any) -> bytes:
    """Encode a frame of JSON."""
    return frame(kind, json.dumps(content).encode())


def parse_head(head: bytes) -> tuple[Kind, int]:
    """Decode kind and length from a frame's first five bytes."""
    kind, length = HEAD.unpack(head)
    return Kind(kind.decode()), length
