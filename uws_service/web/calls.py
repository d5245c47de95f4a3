"""The same request as a program would send it: curl, pyvo, the command line. Pure: values to text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from uws_service.applications.model import Example

_PART = re.compile(r"param:([\w.-]+)")
Pairs = Sequence[tuple[str, str]]


class Calls(NamedTuple):
    """A request for a job in three languages."""

    curl: str
    pyvo: str
    cli: str


def curl(pairs: Pairs, url: str, files: Pairs = (), controls: Pairs = ()) -> str:
    """Return a command line of curl.

    ``files`` are names of parts and files, ``controls`` come last.
    """
    option = "-F" if files else "--data-urlencode"
    words = ["curl", "-L"]
    texts = [f"{name}={value}" for name, value in pairs]
    texts += [f"{name}=@{file}" for name, file in files]
    texts += [f"{name}={value}" for name, value in controls]
    for text in texts:
        words += [option, shlex.quote(text)]
    return " ".join([*words, shlex.quote(url)])


def example_curl(example: Example, url: str, *controls: tuple[str, str]) -> str:
    """Return a command line that sends an example.

    Files have the names of the parts that it refers to.
    """
    pairs = [
        (key, str(single))
        for key, value in example.parameters.items()
        for single in (value if isinstance(value, (list, tuple)) else (value,))
    ]
    parts = [(part, part) for _, value in pairs for part in _PART.findall(value)]
    return curl(pairs, url, parts, controls)


def calls(pairs: Pairs, files: Pairs, url: str) -> Calls:
    """Return the request that a form would send.

    ``url`` is the application's, ``files`` are names of parts and files, control words are among the pairs.
    """
    return Calls(
        curl(pairs, f"{url}/async", files, [("PHASE", "RUN")]),
        _pyvo(pairs, files, url),
        _cli(pairs, files, url),
    )


def _pyvo(pairs: Pairs, files: Pairs, url: str) -> str:
    """Return lines of Python; pyvo's job class speaks UWS, its `create` is for queries alone."""
    lines = ["import requests", "from pyvo.dal import AsyncTAPJob", ""]
    lines.append(f"parameters = {[*pairs]!r}")
    sent = "data=parameters"
    if files:
        opened = ", ".join(f"{name!r}: open({file!r}, 'rb')" for name, file in files)
        lines.append(f"files = {{{opened}}}")
        sent += ", files=files"
    lines.append(f"created = requests.post({url + '/async'!r}, {sent})")
    lines.append("created.raise_for_status()")
    lines.append("job = AsyncTAPJob(created.url)")
    lines.append("job.run().wait()")
    return "\n".join(lines)


CLI_OPTIONS = {"RUNID": "--run-id", "EXECUTIONDURATION": "--duration"}


def _cli(pairs: Pairs, files: Pairs, url: str) -> str:
    """Return a command line of this service's own client."""
    words = ["uws-service", "submit", shlex.quote(url)]
    parts = dict(files)
    tables: set[str] = set()
    for name, value in pairs:
        option = CLI_OPTIONS.get(name.upper())
        table, comma, place = value.partition(",")
        if option is not None:
            words += [option, shlex.quote(value)]
        elif name.upper() == "UPLOAD" and comma:
            part = place.removeprefix("param:") if place.startswith("param:") else ""
            tables.add(part)
            words += ["--upload", shlex.quote(f"{table}={parts.get(part, place)}")]
        else:
            words.append(shlex.quote(f"{name}={value}"))
    for name, file in files:
        if name not in tables:
            words += ["--file", shlex.quote(f"{name}=@{file}")]
    return " ".join(words)
