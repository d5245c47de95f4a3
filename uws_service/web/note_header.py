"""Notes on a synchronous request as an HTTP header, since few formats of results have a place for them.

They name parameters that are unknown, and what was left out of an upload.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from urllib.parse import quote

NAME = "x-uws-note"
MAX_CHARACTERS = 4000
_SAFE = "".join(sorted(set(string.printable) - set(string.whitespace) - {"%"})) + " "


def note_header(notes: Sequence[str]) -> dict[str, str]:
    """Return the header, or nothing without notes.

    Notes are separated by "; ". Whatever is not printable ASCII is percent-encoded UTF-8: names of columns and
    parameters may hold anything.
    """
    text = ""
    for number, note in enumerate(notes):
        encoded = quote(note, safe=_SAFE)
        if len(text) + len(encoded) > MAX_CHARACTERS:
            return {NAME: f"{text}{len(notes) - number} more"}
        text += encoded + "; "
    return {NAME: text.removesuffix("; ")} if text else {}
