"""The command ``sites``.

Which process drives each site, for the operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_FAILURE, EXIT_USAGE, JsonOption, Stop, console, note, print_json
from uws_service.cli.operator_commands import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from uws_service.settings import Settings
    from uws_service.store import SiteOwner


def sites(
    release: Annotated[
        str | None,
        typer.Option(
            metavar="SITE",
            help="Let another process take a local site whose machine is gone. Its jobs are tried again elsewhere, so "
            "make sure that nothing runs there any more.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print which process drives each site, and how many jobs are there."""
    import asyncio

    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    if release is not None:
        asyncio.run(_release(settings, release))
        return
    owners = asyncio.run(_owners(settings))
    if as_json:
        print_json([{"site": name, **_described(owner)} for name, owner in owners.items()])
        return
    from rich.table import Table

    table = Table(box=None)
    for heading in ("site", "state", "machine", "folder", "jobs there"):
        table.add_column(heading, overflow="fold")
    for name, owner in owners.items():
        described = _described(owner)
        table.add_row(
            name, described["state"], described["machine"] or "–", described["folder"] or "–", str(owner.attempts)
        )
    console().print(table)


def _described(owner: SiteOwner) -> dict[str, Any]:
    state = "driven" if owner.remaining > 0 else "stopped" if owner.holder else "free"
    return {
        "state": state,
        "machine": owner.folder.host,
        "folder": owner.folder.path,
        "jobs": owner.attempts,
        "held_seconds": max(0, owner.remaining) / 1000,
    }


async def _owners(settings: Settings) -> dict[str, SiteOwner]:
    from uws_service.store import Store

    store = await Store.open(settings.database_url)
    try:
        return {site.name: await store.owners.owner(site.name) for site in settings.sites}
    finally:
        await store.close()


async def _release(settings: Settings, site: str) -> None:
    from uws_service.store import Store

    names = [site.name for site in settings.sites]
    if site not in names:
        raise Stop(EXIT_USAGE, f"there is no site {site!r} in the settings; there are: {', '.join(names)}")
    store = await Store.open(settings.database_url)
    try:
        before = await store.owners.release(site)
    finally:
        await store.close()
    if before.remaining > 0:
        place = f" on {before.folder.host}" if before.folder.host else ""
        raise Stop(
            EXIT_FAILURE,
            f"site {site} is driven by a process{place} now. Stop that; {before.remaining / 1000:.0f} s later the "
            "site can be released",
        )
    note(f"site {site}: the next process that asks for it drives it; {before.attempts} jobs were there")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sites)
