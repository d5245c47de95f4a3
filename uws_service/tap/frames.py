"""What the service and a warm query process say to each other over a pair of sockets: a kind, a length, bytes."""

from __future__ import annotations

import json
import struct
from enum import StrEnum
from typing import Any

HEAD = struct.Struct(">cI")
LONGEST = 1 << 20
"""Bytes of one frame of a result."""


class Kind(StrEnum):
    """READY comes from a new process. QUESTION goes to it; BEGIN, DATA and END come back, or a FAULT instead."""

    READY = "R"
    QUESTION = "Q"
    BEGIN = "B"
    DATA = "D"
    END = "E"
    FAULT = "F"


def frame(kind: Kind, content: bytes = b"") -> bytes:
    """A frame as bytes."""
    return HEAD.pack(kind.encode(), len(content)) + content


def json_frame(kind: Kind, content: Any) -> bytes:
    """A frame of JSON."""
    return frame(kind, json.dumps(content).encode())


def opened(head: bytes) -> tuple[Kind, int]:
    """Kind and length, from the first five bytes."""
    kind, length = HEAD.unpack(head)
    return Kind(kind.decode()), length
