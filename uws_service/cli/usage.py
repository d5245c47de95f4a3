"""The commands ``usage``: the accounts of a service, for its operator."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_USAGE, WIDE_COLUMNS, JsonOption, Stop, console, note, print_json
from uws_service.cli.operator_commands import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from uws_service.accounting.publisher import Published, Publisher
    from uws_service.accounting.settings import Form
    from uws_service.domain.accounting import Line
    from uws_service.domain.usage_record import UsageRecord
    from uws_service.settings import Settings
    from uws_service.store import Store

LAST_INSTANT = 253_402_300_799_999
"""The last millisecond of the year 9999."""
group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
FORMS = "apel-individual, apel-summary, car, csv, parquet, jsonl"
FormOption = Annotated[str, typer.Option("--form", metavar="FORM", help=f"One of {FORMS}.")]
MonthOption = Annotated[
    str | None, typer.Option(metavar="MONTH", help="Such as 2026-11. Default: the present one.", show_default=False)
]


@group.callback()
def usage(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            metavar="KEY[,KEY…]",
            help="What to split by: owner, group, project, application, site, kind, outcome, waste, day, month.",
        ),
    ] = "group",
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="First day (UTC), such as 2026-11-01.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day (UTC) before which to stop.", show_default=False)
    ] = None,
    records: Annotated[
        bool, typer.Option("--records", help="One line for each attempt instead of sums; seconds, bytes and cores.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print what was used: time, CPU, memory and bytes of all attempts that ended in a period.

    The service may run or not. CPU and memory of jobs at Kubernetes sites are measured inside their containers.
    `publish` and `export` have options of their own, which stand after their names.
    """
    if (command := context.invoked_subcommand) is not None:
        sources = [context.get_parameter_source(name) for name in context.params]
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise Stop(EXIT_USAGE, f"options of {command} stand after its name: uws-service usage {command} …")
        return
    import asyncio

    from uws_service.domain.accounting import KEYS
    from uws_service.settings import Settings

    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json are two ways to print")
    keys = [name.strip() for name in by.split(",") if name.strip()]
    unknown = [name for name in keys if name not in KEYS]
    if unknown or not keys:
        raise typer.BadParameter(f"--by: {', '.join(unknown) or 'nothing'}: allowed are {', '.join(KEYS)}")
    period = _instant(since, "--since", 0), _instant(until, "--until", LAST_INSTANT)
    if period[0] >= period[1]:
        raise typer.BadParameter("--until must be later than --since")
    url = Settings.load(config, data=data, database=database).database_url
    if records:
        asyncio.run(_print_records(url, period, as_json=as_json))
        return
    _print_sums(keys, asyncio.run(_sums(url, period, keys)), as_csv=as_csv, as_json=as_json)


def _instant(text: str | None, option: str, default: int) -> int:
    """Return milliseconds since 1970 of a day or an instant."""
    if text is None:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option}: {text!r} is no date such as 2026-11-01 or 2026-11-01T12:00:00Z") from None
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)


def _exists(url: str) -> bool:
    return Path(url.removeprefix("sqlite:///")).exists()


async def _open(url: str) -> Store:
    from uws_service.store import Store

    if url.startswith("sqlite:///") and not _exists(url):
        raise Stop(EXIT_USAGE, f"There is no database {url}; --data, --database or --config say where it is.")
    return await Store.open(url)


async def _attempts(url: str, period: tuple[int, int]) -> AsyncIterator[list[UsageRecord]]:
    """Yield the attempts that ended in a period, corrections in them."""
    from uws_service.accounting.publisher import attempts_of
    from uws_service.domain.usage_record import month_of

    store = await _open(url)
    try:
        for month in await store.usage.months():
            if month_of(period[0]) <= month <= month_of(period[1]):
                async for page in attempts_of(store.usage, month):
                    yield [record for record in page if period[0] <= record.ended < period[1]]
    finally:
        await store.close()


async def _sums(url: str, period: tuple[int, int], keys: list[str]) -> list[Line]:
    """Return sums as the database makes them."""
    from uws_service.accounting.lines import lines_of

    store = await _open(url)
    try:
        return await lines_of(store.usage, keys, period)
    finally:
        await store.close()


def _print_sums(keys: list[str], lines: list[Line], *, as_csv: bool, as_json: bool) -> None:
    rows = [dict(zip(keys, line.key, strict=True)) | line.figures() for line in lines]
    if as_json:
        print_json(rows)
        return
    headings = list(rows[0]) if rows else keys
    if as_csv:
        import csv

        from uws_service.accounting.tables import harmless

        writer = csv.DictWriter(sys.stdout, headings, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
        return
    from rich.table import Table

    table = Table(box=None)
    for name in headings:
        table.add_column(name.replace("_", " "), justify="left" if name in keys else "right")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    if rows:
        console(width=WIDE_COLUMNS if not sys.stdout.isatty() else None).print(table)
    else:
        print("No attempt ended in this period.")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


async def _print_records(url: str, period: tuple[int, int], *, as_json: bool) -> None:
    """Print lines as they are read.

    CSV, or a JSON object in each line.
    """
    from uws_service.accounting.tables import csv_text, json_lines

    if not as_json:
        sys.stdout.write(csv_text([]))
    async for page in _attempts(url, period):
        sys.stdout.write(json_lines(page) if as_json else csv_text(page, head=False))


@group.command("publish")
def publish(
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Default: that of the settings (accounting.publish.folder)."),
    ] = None,
    form: FormOption = "apel-summary",
    month: MonthOption = None,
    months: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=120, help="So many months up to that one, each whole.")
    ] = 1,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Write a month's accounts as messages for a sender such as ssmsend; owners as `accounting.identities` says.

    The whole month is written, however often: the same records give the same files.
    """
    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    target = folder or settings.accounting.publish.folder
    if target is None:
        raise Stop(EXIT_USAGE, "Where to? Name --folder, or accounting.publish.folder in the settings.")
    _write(settings, form, month, target, months)


@group.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.", show_default=False)],
    form: FormOption = "csv",
    month: MonthOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Write a month's attempts into a folder.

    CSV, Parquet or JSON lines, owners as `accounting.identities` says.
    """
    from uws_service.settings import Settings

    _write(Settings.load(config, data=data, database=database), form, month, folder)


def _write(settings: Settings, form: str, month: str | None, folder: Path, months: int = 1) -> None:
    import asyncio

    from uws_service.domain.ids import now_ms
    from uws_service.domain.usage_record import month_of, parse_month, previous_month

    if form not in FORMS.split(", "):
        raise typer.BadParameter(f"--form: {form!r}: allowed are {FORMS}")
    try:
        number = month_of(now_ms()) if month is None else parse_month(month)
    except ValueError:
        raise typer.BadParameter(f"--month: {month!r} is no month such as 2026-11") from None
    numbers = [number]
    while len(numbers) < months:
        numbers.insert(0, previous_month(numbers[0]))
    for published in asyncio.run(_publish(settings, form, numbers, folder.absolute())):  # type: ignore[arg-type]
        for name in published.names:
            print(folder / name)
        note(f"{published.records} attempts in {len(published.names)} files, SHA-256 of all: {published.digest}")


async def _publish(settings: Settings, form: Form, months: list[int], folder: Path) -> list[Published]:
    store = await _open(settings.database_url)
    try:
        publisher = await _publisher(settings, store)
        return [await publisher.publish(form, month, folder) for month in months]
    finally:
        await store.close()


async def _publisher(settings: Settings, store: Store) -> Publisher:
    from uws_service.accounting.identities import PSEUDONYMS, Pseudonyms
    from uws_service.accounting.publisher import Publisher
    from uws_service.configuration import outside_of

    return Publisher(store, outside_of(settings, Pseudonyms(await store.access.secret(PSEUDONYMS))))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(group, name="usage", short_help="Print what was used, and publish it.")
