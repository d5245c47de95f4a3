"""Try one site end to end: what `check-config --online` asks of it, and then a small job, where its kind has one."""

from __future__ import annotations

from collections.abc import Callable

from uws_service.cli.online_checks import check_site
from uws_service.settings import Settings
from uws_service.sites.kind import Finding
from uws_service.sites.kinds import kind_of
from uws_service.store import Store


async def try_site(
    settings: Settings, name: str, image: str, tell: Callable[[Finding], None] | None = None
) -> list[Finding]:
    """Return what was tried at a site.

    Parameters
    ----------
    image
        The image that is tried; empty: the one of the site's settings.
    tell
        Called with each finding as soon as it is there.
    """
    findings: list[Finding] = []

    def add(finding: Finding) -> None:
        findings.append(finding)
        if tell is not None:
            tell(finding)

    (site,) = (entry for entry in settings.sites if entry.name == name)
    check = await check_site(site, settings)
    add(Finding("the site and its credentials", check.problem, check.remark))
    kind = kind_of(site)
    trial = kind.trial
    if check.problem:
        return findings
    if kind.desks is not None:
        add(await _runner(settings, name))
        return findings
    if trial is None:
        add(Finding("a job", remark=f"none is tried for a site of the kind {site.kind}"))
        return findings
    async for finding in trial(site, image):
        add(finding)
    return findings


async def _runner(settings: Settings, site: str) -> Finding:
    """Return whether the runner of a site calls, as the database has it."""
    store = await Store.open(settings.database_url)
    try:
        state = await store.runners.state(site)
    finally:
        await store.close()
    if state is None or not state.runner:
        words = f"it has not called yet; `uws-service sites rights {site}` prints its file"
        return Finding("its runner", problem=words)
    if state.until <= state.now:
        seconds = (state.now - state.contact) // 1000
        return Finding("its runner", problem=f"the one on {state.host} has not called for {seconds} s: see its log")
    if state.problem:
        return Finding("its runner", problem=f"the one on {state.host} does not see the site: {state.problem}")
    return Finding("its runner", remark=f"calls from {state.host}")
