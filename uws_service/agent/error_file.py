"""``error.json``: the file in the output folder in which a command says what went wrong.

``{"type": "UsageError", "message": "POS: the radius must be positive", "detail": "…"}``: the type is one of `TYPES`,
the message one line for the job's owner, the detail (optional) more of it. It counts if the command ends with an exit
code other than 0.
"""

from __future__ import annotations

import json
import os

from uws_service.agent import confined
from uws_service.agent import folder as layout

NAME = "error.json"
MAX_BYTES = 3_900
"""Larger files are ignored: a pod's termination message takes 4096 bytes, and holds a line of ``launch.c`` too."""
MESSAGE_LENGTH = 1_000
TYPES = ("UsageError", "MultiValuedParamNotSupported", "ServiceUnavailable", "Error")
"""DALI's words for an error (DALI 1.1 §4.2); a type that is none of them counts as ``Error``."""


def read_error(work: str) -> dict[str, str] | None:
    """Return what the command says went wrong.

    None if it says nothing that makes sense.
    """
    try:
        content = confined.read_small(work, os.path.join(layout.OUTPUT, NAME), MAX_BYTES)
    except OSError:
        return None
    return parse_error(content)


def parse_error(content: bytes | str) -> dict[str, str] | None:
    """Return type, message and detail.

    None if there is no message.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("message"), str):
        return None
    message = " ".join(layout.clean(value["message"], MESSAGE_LENGTH).split())
    detail = value.get("detail")
    if not message:
        return None
    return {
        "type": value["type"] if value.get("type") in TYPES else "Error",
        "message": message,
        "detail": layout.clean(detail, MAX_BYTES) if isinstance(detail, str) else "",
    }
