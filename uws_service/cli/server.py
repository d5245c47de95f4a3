"""Commands for whoever runs a service: ``serve``, ``check-config``, ``migrate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_FAILURE, JsonOption, Stop, console, note, print_json

if TYPE_CHECKING:
    from uws_service.applications import Application
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
    from uws_service.cli.http_server import serve as serve_settings
    from uws_service.settings import Settings

    overrides = {"base_url": base_url, "data": data, "database": database, "depot": depot, "work": work}
    settings = Settings.load(config, **overrides)
    raise typer.Exit(serve_settings(settings, config, overrides, host=host, port=port, workers=workers))


def check_config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Load the settings and the applications, and print what was found or what is wrong.

    Nothing is opened or changed. An error names file, line and field, and the exit code is 2.
    """
    from uws_service.auth.groups import remarks
    from uws_service.runtime import applications_of
    from uws_service.settings import Settings

    settings = Settings.load(config)
    applications = applications_of(settings)
    if as_json:
        print_json(
            {
                "settings": shown_settings(settings),
                "applications": [
                    {"name": one.name, "title": one.title, "parameters": [spec.name for spec in one.parameters]}
                    for one in applications.values()
                ],
                "remarks": remarks(settings.auth),
            }
        )
        return
    _print_found(settings, config, applications)


def _print_found(settings: Settings, config: Path | None, applications: dict[str, Application]) -> None:
    from rich.table import Table

    from uws_service.auth.groups import remarks

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
    for one in applications.values():
        table.add_row(
            one.name, one.title, ", ".join(p.name for p in one.parameters), ", ".join(r.id for r in one.results)
        )
    out.print(table)
    for remark in remarks(settings.auth):
        out.print(remark)
    out.print("The configuration is good.")


def shown_settings(settings: Settings) -> dict[str, Any]:
    """All settings as they are in force, without passwords."""
    shown = settings.model_dump(mode="json")
    shown["database"] = settings.database_url
    shown["depot"] = settings.depot_url
    shown["work"] = str(settings.work_folder)
    return {name: _hidden(value) for name, value in shown.items()}


def _hidden(value: Any) -> Any:
    """The value with passwords in URLs, and secrets in their queries, replaced by stars."""
    if isinstance(value, dict):
        return {name: _hidden(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_hidden(one) for one in value]
    if isinstance(value, str) and "://" in value:
        value = re.sub(r"(?<=://)([^/@:]*):([^/]*)@", r"\1:***@", value)
        return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*", r"\1***", value)
    return value


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, one in enumerate(value):
                rows += _flat(one, f"{prefix}{name}.{number}.")
        elif isinstance(value, list):
            rows.append((prefix + name, ", ".join(str(one) for one in value) or "–"))
        else:
            rows.append((prefix + name, "–" if value is None else str(value)))
    return rows


def migrate(config: ConfigOption = None, data: DataOption = None, database: DatabaseOption = None) -> None:
    """Create the database's tables or bring them up to date."""
    from uws_service.settings import Settings
    from uws_service.store import migrate as migrate_store

    settings = Settings.load(config, data=data, database=database)
    if settings.database is None:
        _make_folder(settings.data)
    before, after = migrate_store(settings.database_url)
    done = f"was at {before or 'nothing'} and is now at {after}" if before != after else f"is up to date, at {after}"
    note(f"The database {_hidden(settings.database_url)} {done}.")


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
