"""What the commands share.

Exit codes, options, how words from a server are shown, JSON.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from uws_service.client import UwsClient

EXIT_OK, EXIT_JOB, EXIT_USAGE, EXIT_FAILURE, EXIT_TIMEOUT, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = {
    EXIT_OK: "all went well",
    EXIT_JOB: "the job ended in ERROR or ABORTED, waits for somebody to start it, or gave other results anew",
    EXIT_USAGE: "the command line or the configuration is wrong",
    EXIT_FAILURE: "the server or the network failed, or the server refused",
    EXIT_TIMEOUT: "the time given with --timeout is over, the job goes on",
    EXIT_INTERRUPTED: "interrupted by Ctrl-C",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


class Stop(Exception):
    """End the command with an exit code and, if there is one, a line on standard error."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def one_line(text: str, limit: int = 500) -> str:
    """Return a text from elsewhere in one line, without characters that could steer the terminal."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def complain(message: str) -> None:
    """Print one line on standard error."""
    print(f"uws-service: {one_line(message, 2000)}", file=sys.stderr)


def note(message: str) -> None:
    """Print one line for a person, on standard error."""
    print(one_line(message), file=sys.stderr)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that takes no markup from the texts that it prints."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


WIDE_COLUMNS = 10_000
"""Columns for tables with URLs, which are for copying and so are never cut or wrapped."""


def print_json(value: Any) -> None:
    """Print a value for machines, on standard output."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _header(value: str) -> str:
    name, colon, _ = value.partition(":")
    if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()) or re.search(r"[\r\n]", value):
        raise typer.BadParameter("must have the form 'Name: value'")
    return value


def _complete_application(incomplete: str) -> list[str]:
    from uws_service.cli.services import complete_place

    return complete_place(incomplete)


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="URL of the job, or APPLICATION/ID at the service in use (`use`).", show_default=False
    ),
]
JobsArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="URL of the job list (often ends in /async) or of the application; or its name at the service in use.",
        show_default=False,
        autocompletion=_complete_application,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="NAME:VALUE",
        callback=lambda values: [_header(value) for value in values or []],
        help="Send this header with each request to the server of the given URL, and to no other.",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="Bearer token; @FILE reads it from a file, which others can't see in the list of processes. By default "
        "UWS_CLIENT_TOKEN, BEARER_TOKEN, BEARER_TOKEN_FILE, that of `login`, or that of WLCG's tools.",
        show_default=False,
    ),
]
HttpTimeoutOption = Annotated[
    float, typer.Option("--http-timeout", metavar="SECONDS", min=0.1, help="Patience with one answer of the server.")
]


def open_client(url: str, headers: list[str] | None, timeout: float, token: str | None = None) -> UwsClient:
    """Return a client for the service at a URL.

    Its credentials come from the options, the environment, or a login.
    """
    import os

    from uws_service.client import UwsClient
    from uws_service.client.tokens import Source

    fields = {}
    for header in headers or []:
        name, _, value = header.partition(":")
        fields[name.strip()] = value.strip()
    has_credentials = (
        any(name.lower() == "authorization" for name in fields) or "@" in url.partition("://")[2].partition("/")[0]
    )
    source = None if has_credentials else Source(url, os.environ, token=_token(token))
    return UwsClient(url, headers=fields, authorize=source, timeout=timeout)


def _token(text: str | None) -> str | None:
    """Return the token that ``--token`` names."""
    from pathlib import Path

    from uws_service.client.tokens import checked

    if text is None or not text.startswith("@"):
        return checked(text, "--token") if text is not None else None
    try:
        return checked(Path(text[1:]).expanduser().read_text(encoding="utf-8"), text[1:])
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]}: {error.strerror}") from None


@contextmanager
def guarded(after: str = "") -> Iterator[None]:
    """Turn the client's errors into a line and an exit code.

    ``after`` is put at the line's end.
    """
    from uws_service.client import ClientError

    try:
        yield
    except ClientError as error:
        if is_debugging():
            raise
        raise Stop(EXIT_FAILURE, f"{error.message}{after}") from None


def is_debugging() -> bool:
    """Return whether ``--debug`` was given."""
    return bool(_STATE.get("debug"))


def set_debugging(value: bool) -> None:
    """Remember ``--debug`` for the length of this command line."""
    _STATE["debug"] = value


_STATE: dict[str, bool] = {}
