"""Completion of commands, options and names by the shell."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_UWS_SERVICE_COMPLETE"


class Shell(StrEnum):
    """Shells that are served."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def prepare() -> None:
    """Get ready to answer the shell, if it is the shell that asks."""
    if os.environ.get(VARIABLE):
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print what makes the Tab key complete commands, options and names: source <(uws-service completion bash)."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="uws-service", complete_var=VARIABLE, shell=shell.value))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("completion")(completion)
