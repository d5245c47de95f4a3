"""The command ``translate``: submissions to other systems as requests to this one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from uws_service.cli.common import EXIT_USAGE, JsonOption, Stop, note, print_json
from uws_service.domain.errors import UsageError

MAX_BYTES = 1024**2


def translate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A submit file of HTCondor, a JDL or a task of PanDA; - for standard input."
        ),
    ],
    image: Annotated[
        str, typer.Option(help="The container image, if the file names none, or in place of it.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the request for the same job of the application ``container``, and what could not be translated."""
    from uws_service.client.translate import translate as translate_text

    try:
        translation = translate_text(_read(file), image=image)
    except UsageError as error:
        raise Stop(EXIT_USAGE, f"{file}: {error.message}") from None
    if as_json:
        print_json({"requests": translation.requests, "not_translated": translation.remarks})
        return
    for number, request in enumerate(translation.requests, 1):
        if len(translation.requests) > 1:
            print(f"# job {number} of {len(translation.requests)}")
        for name, value in request:
            print(f"{name}={value}")
    for remark in translation.remarks:
        note(f"not translated: {remark}")


def _read(file: str) -> str:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Stop(EXIT_USAGE, f"{file}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise Stop(EXIT_USAGE, f"{file}: larger than {MAX_BYTES} bytes, so it is no submission")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Stop(EXIT_USAGE, f"{file}: is not text in UTF-8") from None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(translate)
