"""Commands for whoever runs a service.

``serve``, ``check-config``, ``migrate``.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_FAILURE, JsonOption, Stop, complain, console, note, print_json
from uws_service.settings_checks import mask_secrets

if TYPE_CHECKING:
    from uws_service.applications import Application
    from uws_service.cli.online_checks import Check
    from uws_service.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="UWS_CONFIG", help="YAML file with settings.", show_default=False
    ),
]
DatabaseOption = Annotated[
    str | None, typer.Option(metavar="URL", help="sqlite:////absolute/path.db or postgresql://…", show_default=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of the embedded database, depot and work.", show_default=False),
]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8080,
    config: ConfigOption = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Public URL of the service's root.", show_default=False)
    ] = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    depot: Annotated[
        str | None, typer.Option(metavar="URL", help="Folder or s3://bucket/prefix for files.", show_default=False)
    ] = None,
    work: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder in which local jobs run.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer requests.")] = 1,
) -> None:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C); running jobs go on.

    With no options it runs embedded: SQLite, a folder and local processes. Options win over environment variables
    UWS_…, which win over the file.
    """
    gc.disable()  # nothing of what is imported is garbage, and looking for it takes a tenth of the start
    from uws_service.cli.uvicorn_server import serve as serve_settings
    from uws_service.settings import Settings

    gc.freeze()
    gc.enable()

    overrides = {"base_url": base_url, "data": data, "database": database, "depot": depot, "work": work}
    settings = Settings.load(config, **overrides)
    raise typer.Exit(serve_settings(settings, config, overrides, host=host, port=port, workers=workers))


def check_config(
    config: ConfigOption = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Try the database, the depot, the issuers, the catalogues and the sites too."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Load the settings and the applications, and print what is in force or what is wrong.

    Nothing is changed. An error names file, line and field, and the exit code is 2. With --online whatever the settings
    name is tried: the depot by an object that is written and deleted; if something does not work the exit code is 3.
    """
    from uws_service.configuration import applications_of
    from uws_service.settings import Settings

    settings = Settings.load(config)
    applications = applications_of(settings)
    checks = _check_online(settings) if online else []
    if as_json:
        document = {
            "settings": shown_settings(settings),
            "applications": [
                {"name": name, "title": application.title, "parameters": [spec.name for spec in application.parameters]}
                for name, application in applications.items()
            ],
            "remarks": _remarks(settings, applications),
        }
        print_json(document | ({"online": [check._asdict() for check in checks]} if online else {}))
    else:
        _print_configuration(settings, config, applications, checks)
    problems = [check for check in checks if check.problem]
    for check in problems:
        complain(f"{check.part} ({check.address}): {check.problem}")
    if problems:
        raise Stop(EXIT_FAILURE)
    if not as_json:
        console().print("The configuration is good.")


def _check_online(settings: Settings) -> list[Check]:
    import asyncio
    import logging

    import structlog

    from uws_service.cli.online_checks import check_online

    logging.disable()  # what is wrong is said once, by this command
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(check_online(settings))


def _print_configuration(
    settings: Settings, config: Path | None, applications: dict[str, Application], checks: list[Check]
) -> None:
    from rich.table import Table

    out = console()
    table = Table(title=f"Settings ({config or 'environment and defaults'})", title_justify="left", box=None)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in _flat(shown_settings(settings)):
        table.add_row(name, value)
    out.print(table)
    table = Table(title="Applications", title_justify="left", box=None)
    for heading in ("name", "title", "parameters", "results"):
        table.add_column(heading, overflow="fold")
    for name, application in applications.items():
        parameters, results = (spec.name for spec in application.parameters), (spec.id for spec in application.results)
        table.add_row(name, application.title, ", ".join(parameters), ", ".join(results))
    out.print(table)
    if checks:
        table = Table(title="Tried", title_justify="left", box=None)
        for heading in ("part", "address", "state"):
            table.add_column(heading, overflow="fold")
        for check in checks:
            table.add_row(check.part, check.address, "does not work" if check.problem else check.remark or "works")
        out.print(table)
    for remark in _remarks(settings, applications):
        out.print(remark)


def _remarks(settings: Settings, applications: Mapping[str, Application]) -> list[str]:
    from uws_service.auth.groups import remarks
    from uws_service.cli.command_remarks import command_remarks

    return [*remarks(settings.auth), *command_remarks(settings, applications)]


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Return all settings as they are in force, without passwords."""
    document = settings.model_dump(mode="json")
    document["database"] = settings.database_url
    document["depot"] = settings.depot_url
    document["work"] = str(settings.work_folder)
    return {name: _hidden(value) for name, value in document.items()}


def _hidden(value: Any) -> Any:
    """Return the value with passwords in URLs, and secrets in their queries, replaced by stars."""
    if isinstance(value, dict):
        return {name: _hidden(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return mask_secrets(value) if isinstance(value, str) else value


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value):
                rows += _flat(item, f"{prefix}{name}.{number}.")
        elif isinstance(value, list):
            rows.append((prefix + name, ", ".join(str(item) for item in value) or "–"))
        else:
            rows.append((prefix + name, "–" if value is None else str(value)))
    return rows


def migrate(
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create the database's tables or bring them up to date."""
    from uws_service.settings import Settings
    from uws_service.store import migrate as migrate_store

    settings = Settings.load(config, data=data, database=database)
    if settings.database is None:
        _make_folder(settings.data)
    before, after = migrate_store(settings.database_url)
    if as_json:
        print_json({"database": _hidden(settings.database_url), "before": before, "after": after})
        return
    outcome = f"was at {before or 'nothing'} and is now at {after}" if before != after else f"is up to date, at {after}"
    note(f"The database {_hidden(settings.database_url)} {outcome}.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stop(EXIT_FAILURE, f"{folder}: {error.strerror}") from None


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("serve", short_help="Run the service.")(serve)
    app.command("check-config", short_help="Check the settings and the applications.")(check_config)
    app.command("migrate", short_help="Bring the database up to date.")(migrate)
