"""The command ``usage``.

The accounts of a service, for its operator.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_USAGE, WIDE_COLUMNS, JsonOption, Stop, console, print_json
from uws_service.cli.operator_commands import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from uws_service.domain.accounting import Line
    from uws_service.domain.attempt import Attempt

RECORD = (
    "job_id", "number", "site", "application", "owner", "group", "created", "submitted", "started", "ended",
    "exit_code", "reason", "cpu_requested", "memory_requested", "wall", "cpu", "peak_memory", "bytes_in", "bytes_out",
)  # fmt: skip
_INSTANTS = frozenset({"created", "submitted", "started", "ended"})


def usage(
    by: Annotated[
        str,
        typer.Option(
            metavar="KEY[,KEY…]", help="What to split by: owner, group, application, site, outcome, day, month."
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
    """
    import asyncio

    from uws_service.domain.accounting import KEYS
    from uws_service.settings import Settings

    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json are two ways to print")
    keys = [name.strip() for name in by.split(",") if name.strip()]
    unknown = [name for name in keys if name not in KEYS]
    if unknown or not keys:
        raise typer.BadParameter(f"--by: {', '.join(unknown) or 'nothing'}: allowed are {', '.join(KEYS)}")
    period = _instant(since, "--since", 0), _instant(until, "--until", 2**53)
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


async def _attempts(url: str, period: tuple[int, int]) -> AsyncIterator[list[Attempt]]:
    from uws_service.store import Store

    if url.startswith("sqlite:///") and not _exists(url):
        raise Stop(EXIT_USAGE, f"There is no database {url}; --data, --database or --config say where it is.")
    store = await Store.open(url)
    try:
        async for page in store.attempts.usage(*period):
            yield page
    finally:
        await store.close()


def _exists(url: str) -> bool:
    from pathlib import Path

    return Path(url.removeprefix("sqlite:///")).exists()


async def _sums(url: str, period: tuple[int, int], keys: list[str]) -> list[Line]:
    from uws_service.domain.accounting import summed

    lines: dict[tuple[str, ...], Line] = {}
    async for page in _attempts(url, period):
        summed(page, keys, lines)
    return [lines[key] for key in sorted(lines)]


def _print_sums(keys: list[str], lines: list[Line], *, as_csv: bool, as_json: bool) -> None:
    rows = [dict(zip(keys, line.key, strict=True)) | _figures(line) for line in lines]
    if as_json:
        print_json(rows)
        return
    headings = [*keys, *(field.name for field in dataclasses.fields(lines[0])[1:])] if lines else keys
    if as_csv:
        import csv

        writer = csv.DictWriter(sys.stdout, headings, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    from rich.table import Table

    table = Table(box=None)
    for name in headings:
        table.add_column(name.replace("_", " "), justify="left" if name in keys else "right")
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    if rows:
        console(width=WIDE_COLUMNS if not sys.stdout.isatty() else None).print(table)
    else:
        print("No attempt ended in this period.")


def _figures(line: Line) -> dict[str, Any]:
    record = dataclasses.asdict(line)
    del record["key"]
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in record.items()}


async def _print_records(url: str, period: tuple[int, int], *, as_json: bool) -> None:
    """Print lines as they are read.

    CSV, or a JSON object in each line.
    """
    import csv
    import json

    writer = csv.DictWriter(sys.stdout, RECORD, lineterminator="\n")
    if not as_json:
        writer.writeheader()
    async for page in _attempts(url, period):
        for attempt in page:
            row = {name: _shown(attempt, name) for name in RECORD}
            if as_json:
                print(json.dumps(row, ensure_ascii=False))
            else:
                writer.writerow(row)


def _shown(attempt: Attempt, name: str) -> Any:
    value = getattr(attempt.usage, name) if hasattr(attempt.usage, name) else getattr(attempt, name)
    if name in _INSTANTS and value is not None:
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("usage", short_help="Print what was used, by group, owner, application or site.")(usage)
