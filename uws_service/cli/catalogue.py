"""``uws-service catalogue``: the tables that TAP applications publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import JsonOption, console, note, print_json
from uws_service.cli.operator_commands import ConfigOption, DataOption
from uws_service.domain.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from uws_service.tap.catalogue import Folder

FolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the tables, as `catalogue.folder` of a descriptor names it; by default that of the setting "
        "`catalogues`.",
        show_default=False,
    ),
]
TableArgument = Annotated[str, typer.Argument(metavar="SCHEMA.TABLE", help="Name of the table.", show_default=False)]


def add(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Tables: VOTable, FITS, CSV, ECSV or Parquet.", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="SCHEMA.TABLE", help="Name in queries; by default from the file's.", show_default=False),
    ] = None,
    schema: Annotated[str, typer.Option(help="Schema of tables that are named after their files.")] = "data",
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="What the table holds; by default as the file says.")
    ] = "",
    ra: Annotated[str, typer.Option(metavar="COLUMN", help="Column of right ascension, in degrees.")] = "",
    dec: Annotated[str, typer.Option(metavar="COLUMN", help="Column of declination, in degrees.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a table of that name.")] = False,
    folder: FolderOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Publish tables: columns with their units, UCDs and descriptions into TAP_SCHEMA, rows into Parquet.

    A running service shows them at once. What their users will miss is told as warnings.
    """
    from uws_service.tap.ingest import IngestOptions, default_name, ingest

    if name is not None and len(files) > 1:
        raise UsageError("--name is for one file; --schema is for several.")
    place = _folder(folder, config, data)
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file.")
        wishes = IngestOptions(name or default_name(path, schema), description, ra, dec, replace)
        try:
            with _bar(path.name) as progress:
                ingested = ingest(path, place, wishes, progress)
        except UsageError as error:
            raise UsageError(f"{path}: {error.message}") from None
        for warning in ingested.warnings:
            note(f"{ingested.table.full_name}: warning: {warning}")
        note(f"{ingested.table.full_name}: {ingested.rows} rows, {len(ingested.table.columns)} columns.")


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a bar on standard error, if a person looks at it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda count, total: bar.update(task, completed=count, total=total)


def show(
    folder: FolderOption = None, config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Print the published tables."""
    from rich.table import Table

    tables = _folder(folder, config, data).tables()
    if as_json:
        print_json(
            [
                {
                    "name": table.table.full_name,
                    "rows": table.rows,
                    "columns": [column.name for column in table.table.columns],
                    "position": table.table.position,
                    "description": table.table.description,
                }
                for table in tables
            ]
        )
        return
    listing = Table("table", "rows", "columns", "positions", "description", box=None)
    for table in tables:
        position = ", ".join(table.table.position or ()) or "–"
        description = table.table.description
        listing.add_row(table.table.full_name, str(table.rows), str(len(table.table.columns)), position, description)
    console().print(listing)


def remove(
    table: TableArgument, folder: FolderOption = None, config: ConfigOption = None, data: DataOption = None
) -> None:
    """Withdraw a table and delete its rows."""
    removed = _folder(folder, config, data).remove(table)
    note(f"{removed.table.full_name} with {removed.rows} rows is removed.")


def _folder(folder: Path | None, config: Path | None, data: Path | None) -> Folder:
    from uws_service.settings import Settings

    try:
        from uws_service.tap.catalogue import Folder
    except ImportError as error:
        raise ConfigurationError(f"Tables need the package {error.name}: install uws-service[apps].") from None
    return Folder(folder if folder is not None else Settings.load(config, data=data).catalogue_folder)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="The tables that TAP applications publish.", no_args_is_help=True)
    group.command("add", short_help="Publish tables.")(add)
    group.command("list", short_help="Print the published tables.")(show)
    group.command("remove", short_help="Withdraw a table.")(remove)
    app.add_typer(group, name="catalogue", short_help="The tables of TAP applications.")
