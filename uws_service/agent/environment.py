"""The environment of a user's command.

Pure, and the same at every kind of site.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import NamedTuple

from uws_service.agent import folder as layout

VALUE_MAX_BYTES = 100_000
"""Linux takes no single environment variable above 128 KiB."""
VALUES_MAX_BYTES = 1_000_000
"""Of all parameter values together, where the kernel alone sets the limit."""


class Folders(NamedTuple):
    """The folders of an attempt as its command sees them."""

    input: str
    output: str
    scratch: str
    progress_file: str

    def expand(self, word: str) -> str:
        """Return a word with the names of folders and of the progress file put in.

        Nothing else is a variable.
        """
        word = word.replace("${UWS_INPUT_DIR}", self.input).replace("${UWS_OUTPUT_DIR}", self.output)
        return word.replace("${UWS_PROGRESS_FILE}", self.progress_file)


def command_environment(
    job_id: str,
    folders: Folders,
    values: Mapping[str, str],
    *,
    token_variable: str = "",
    base: Mapping[str, str] | None = None,
    max_bytes: int = VALUES_MAX_BYTES,
) -> dict[str, str]:
    """Return all variables that a command gets.

    Parameters
    ----------
    values
        What the launch names; values that the system would refuse are left out (they are in ``parameters.json``).
    token_variable
        The variable that names the file with the data token; empty: there is none.
    base
        What the site adds, such as ``PATH``.
    max_bytes
        How many bytes the values may have together.
    """
    return {
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": folders.scratch,
        "TMPDIR": folders.scratch,
        **(base or {}),
        **_values_that_fit(values, max_bytes),
        **({token_variable: os.path.join(folders.input, layout.TOKEN)} if token_variable else {}),
        "UWS_JOB_ID": job_id,
        "UWS_INPUT_DIR": folders.input,
        "UWS_OUTPUT_DIR": folders.output,
        "UWS_PROGRESS_FILE": folders.progress_file,
    }


def _values_that_fit(values: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    room = max_bytes
    fitting = {}
    for name, value in values.items():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:  # no text: a lone surrogate
            continue
        if "\0" not in value and size <= min(VALUE_MAX_BYTES, room):
            fitting[name] = value
            room -= size
    return fitting
