"""The commands ``sites``, for the operator: which process drives each site, and whether jobs start there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_FAILURE, EXIT_USAGE, JsonOption, Stop, console, note, print_json
from uws_service.cli.operator_commands import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from uws_service.placement.model import Window
    from uws_service.settings import Settings
    from uws_service.sites.kind import Finding
    from uws_service.sites.settings import SiteSettings
    from uws_service.store import SiteOwner

REASON_LENGTH = 200


group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
NameArgument = Annotated[str, typer.Argument(metavar="SITE", help="The site's name.", show_default=False)]


@group.callback()
def sites(
    context: typer.Context,
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
    """Print whether a process drives each site, how many jobs are there, and what keeps jobs from it.

    Its commands have options of their own, which stand after their names.
    """
    if (command := context.invoked_subcommand) is not None:
        sources = [context.get_parameter_source(name) for name in context.params]
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise Stop(EXIT_USAGE, f"options of {command} stand after its name: uws-service sites {command} SITE …")
        return
    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    if release is not None:
        import asyncio

        asyncio.run(_release(settings, release))
        return
    _print_sites(settings, as_json=as_json)


def _print_sites(settings: Settings, *, as_json: bool) -> None:
    import asyncio

    owners, drains = asyncio.run(_owners(settings))
    downtimes = {site.name: _next_downtime(site) for site in settings.sites}
    words = {name: _downtime_words(entry) for name, entry in downtimes.items()}
    if as_json:
        print_json(
            [
                {"site": name, **_described(owner), "drained": drains.get(name), "downtime": words[name] or None}
                for name, owner in owners.items()
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None)
    for heading in ("site", "state", "machine", "folder", "jobs there", "new jobs"):
        table.add_column(heading, overflow="fold")
    for name, owner in owners.items():
        described = _described(owner)
        news = f"none: {drains[name]}" if name in drains else _news(downtimes[name])
        table.add_row(
            name, described["state"], described["machine"] or "–", described["folder"] or "–", str(owner.attempts), news
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


def _next_downtime(site: SiteSettings) -> Window | None:
    """Return the next or present time in which a site is down."""
    from uws_service.domain.ids import now_ms

    now = now_ms()
    windows = (entry.window for entry in site.facts.downtimes)
    return min((window for window in windows if window.end_ms > now), default=None)


def _downtime_words(window: Window | None) -> str:
    """Return a down time in words.

    Empty if there is none.
    """
    from uws_service.placement.wording import at_instant

    if window is None:
        return ""
    why = f" ({window.reason})" if window.reason else ""
    return f"down from {at_instant(window.start_ms)} to {at_instant(window.end_ms)}{why}"


def _news(window: Window | None) -> str:
    """Return whether new jobs start at a site, as far as down times tell."""
    from uws_service.domain.ids import now_ms

    if window is None:
        return "yes"
    return f"{'none' if window.start_ms <= now_ms() else 'yes'}; {_downtime_words(window)}"


async def _owners(settings: Settings) -> tuple[dict[str, SiteOwner], dict[str, str]]:
    from uws_service.store import Store

    store = await Store.open(settings.database_url)
    try:
        owners = {site.name: await store.owners.owner(site.name) for site in settings.sites}
        return owners, await store.site_states.drains()
    finally:
        await store.close()


@group.command()
def drain(
    site: NameArgument,
    reason: Annotated[
        str, typer.Option("--reason", help="Why: the owners of waiting jobs read it.", show_default=False)
    ] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let no new jobs start at a site. Those that run there go on, waiting ones may go elsewhere."""
    import asyncio

    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    _require_site(settings, site)
    reason = reason[:REASON_LENGTH] or "it is drained for maintenance"
    asyncio.run(_drain(settings, site, reason))
    if as_json:
        print_json({"site": site, "drained": reason})
        return
    note(f"site {site}: no new jobs start there; `uws-service sites undrain {site}` lets them again")


@group.command()
def undrain(
    site: NameArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let jobs start at a site again."""
    import asyncio

    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    _require_site(settings, site)
    if not asyncio.run(_drain(settings, site, None)):
        raise Stop(EXIT_FAILURE, f"site {site} is not drained")
    if as_json:
        print_json({"site": site, "drained": None})
        return
    note(f"site {site}: jobs start there again")


@group.command("list")
def list_sites(
    as_json: JsonOption = False, config: ConfigOption = None, data: DataOption = None, database: DatabaseOption = None
) -> None:
    """Print what `uws-service sites` prints."""
    from uws_service.settings import Settings

    _print_sites(Settings.load(config, data=data, database=database), as_json=as_json)


@group.command()
def facts(
    site: Annotated[
        str | None, typer.Argument(metavar="SITE", help="The site's name. None: all sites.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print what counts when sites are compared, as JSON: limits, storage, links, down times, costs, loads."""
    import asyncio

    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    if site is not None:
        _require_site(settings, site)
    described = asyncio.run(_facts(settings))
    print_json([entry for entry in described if site in (None, entry["site"])])


async def _facts(settings: Settings) -> list[dict[str, Any]]:
    from uws_service.domain.ids import now_ms
    from uws_service.placement.placer import Placer
    from uws_service.service.site_control import SiteControl
    from uws_service.sites.kinds import kind_of
    from uws_service.store import Store

    store = await Store.open(settings.database_url)
    try:
        near = [site.name for site in settings.sites if not kind_of(site).leased]
        placer = Placer(store, settings.sites, near, settings.placement)
        return await SiteControl(store, placer, now_ms).all()
    finally:
        await store.close()


async def _drain(settings: Settings, site: str, reason: str | None) -> bool:
    import asyncio

    from uws_service.domain.ids import now_ms
    from uws_service.placement.placer import FRESH_SECONDS
    from uws_service.store import Store

    store = await Store.open(settings.database_url)
    try:
        if reason is None:
            return await store.site_states.undrain(site)
        await store.site_states.drain(site, reason, now_ms())
        await asyncio.sleep(2 * FRESH_SECONDS)  # until no process starts jobs by what it read before
        return True
    finally:
        await store.close()


@group.command()
def check(
    site: NameArgument,
    image: Annotated[
        str,
        typer.Option("--image", help="Try this image, if the site has a program for images.", show_default=False),
    ] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Try a site end to end: credentials, queue, one small job, its way to the service, images, storage.

    Each line says what was tried and what is wrong with it. The exit code is 3 if anything is.
    """
    import asyncio

    from uws_service.cli.site_trial import try_site
    from uws_service.settings import Settings

    settings = Settings.load(config, data=data, database=database)
    _require_site(settings, site)
    findings = asyncio.run(try_site(settings, site, image, None if as_json else _print_finding))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.problem for finding in findings):
        raise Stop(EXIT_FAILURE, f"site {site}: not all of it works")


def _print_finding(finding: Finding) -> None:
    """Print a line at once: a job may wait for minutes."""
    verdict = "wrong" if finding.problem else "good"
    words = finding.problem or finding.remark
    console().print(f"{verdict:5}  {finding.thing}: {words}", markup=False, highlight=False, soft_wrap=True)


@group.command()
def rights(
    site: NameArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print what the operator of a site has to set there: users, rights, queues, tokens."""
    from uws_service.settings import Settings
    from uws_service.sites.kinds import kind_of

    settings = Settings.load(config, data=data, database=database)
    _require_site(settings, site)
    (entry,) = (entry for entry in settings.sites if entry.name == site)
    kind = kind_of(entry)
    if kind.rights is None:
        note(f"site {site}: nothing has to be set for a site of the kind {kind.name}")
        return
    blocks = (f"# --- {right.place}\n{right.text.rstrip()}\n" for right in kind.rights(entry))
    print("\n".join(blocks), end="")


def _require_site(settings: Settings, site: str) -> None:
    names = [entry.name for entry in settings.sites]
    if site not in names:
        raise Stop(EXIT_USAGE, f"there is no site {site!r} in the settings; there are: {', '.join(names)}")


async def _release(settings: Settings, site: str) -> None:
    from uws_service.store import Store

    _require_site(settings, site)
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
    """Add the commands."""
    app.add_typer(group, name="sites")
