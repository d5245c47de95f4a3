"""The command line ``uws-service``.

Run the service, and use any UWS 1.1 service by its URL.

Every command imports what it needs when it runs, so that ``uws-service --help`` answers at once.
Results go to standard output, everything else to standard error; an error is one line there, never a traceback
(unless ``--debug`` is given). Exit codes are in `uws_service.cli.common.EXIT_CODES`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from uws_service import __version__
from uws_service.cli import (
    applications,
    bulk,
    catalogue,
    completion,
    files,
    follow,
    images,
    jobs,
    login,
    operator_commands,
    reruns,
    runner,
    services,
    simulate,
    sites,
    translate,
    usage,
)
from uws_service.cli.common import (
    EXIT_CODES,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    Stop,
    complain,
    is_debugging,
    one_line,
    set_debugging,
)
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.process_exit import end_process

PROGRAM = "uws-service"

app = typer.Typer(
    name=PROGRAM,
    help="Run a UWS service, and use any UWS service by its URL.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
    add_completion=False,
    rich_markup_mode=None,  # plain help needs no rich and is easy to copy
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Set what all commands share."""
    set_debugging(debug)


operator_commands.register(app)
applications.register(app)
jobs.register(app)
reruns.register(app)
bulk.register(app)
files.register(app)
login.register(app)
images.register(app)
catalogue.register(app)
usage.register(app)
sites.register(app)
runner.register(app)
simulate.register(app)
translate.register(app)
services.register(app)
follow.register(app)
completion.register(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    set_debugging(False)
    completion.prepare()
    try:
        code = _command().main(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Stop as stop:
        if stop.message:
            complain(stop.message)
        return stop.code
    except typer.TyperException as error:
        complain(f"{one_line(_wording(error))}. `{_help_of(error)}` tells more.")
        return EXIT_USAGE
    except ConfigurationError as error:
        if is_debugging():
            raise
        for line in error.message.splitlines():
            complain(line)
        return EXIT_USAGE
    except UwsError as error:
        if is_debugging():
            raise
        complain(error.message)
        return EXIT_FAILURE
    except Exception as error:
        if is_debugging():
            raise
        complain(f"{_reason(error)} (`{PROGRAM} --debug …` shows where)")
        return EXIT_FAILURE


def _command() -> Any:
    return typer.main.get_command(app)


def _wording(error: Exception) -> str:
    words = getattr(error, "format_message", lambda: str(error))()
    return str(words).rstrip(".")


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else PROGRAM} --help"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return one_line(f"{type(error).__name__}: {error}")


def main() -> NoReturn:
    """Run the console script."""
    end_process(run())


def cli_reference() -> str:
    """Return all commands, arguments and options as Markdown, made from the real command line."""
    from uws_service.cli.reference import reference

    return reference(_command(), PROGRAM)


__all__ = ["app", "cli_reference", "main", "run"]
