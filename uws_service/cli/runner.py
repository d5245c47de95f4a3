"""The commands ``runner`` and ``runner-key``, for the operator of a site that only calls out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uws_service.cli.common import JsonOption, note, print_json


def runner(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", metavar="FILE", help="YAML file with the runner's settings.", show_default=False
        ),
    ],
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="The site's name; wins over the file.", show_default=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only load the settings.")] = False,
) -> None:
    """Drive a site for a service that can't call it, until told to stop (SIGTERM or Ctrl-C); running jobs go on.

    It calls the service by HTTPS, and nothing calls it but the site's own agents.
    """
    from uws_service.runner.settings import RunnerSettings

    settings = RunnerSettings.load(config, site)
    if check:
        note("The settings are good.")
        return
    from uws_service.runner.process import run

    run(settings)


def runner_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the key goes; it must not be there yet.")],
    as_json: JsonOption = False,
) -> None:
    """Make the key of a site's runner.

    Print its digest, which goes into the service's settings (`keys`).
    """
    import os

    from uws_service.domain.errors import ConfigurationError
    from uws_service.sites.remote.keys import digest_of, new_key

    key = new_key()
    try:
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as handle:
            handle.write(f"{key}\n")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from None
    if as_json:
        print_json({"file": str(file), "digest": digest_of(key)})
    else:
        print(digest_of(key))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(runner)
    app.command("runner-key")(runner_key)
