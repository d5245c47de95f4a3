"""What administrators see of sites, and whether jobs start there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog

from uws_service.domain.errors import NotFound, UsageError
from uws_service.placement.model import SiteView, Window
from uws_service.placement.placer import Placer
from uws_service.placement.standing import Position, parts, position
from uws_service.protocol.uws.values import format_instant
from uws_service.store import Store

log = structlog.get_logger(__name__)

REASON_LENGTH = 200
NO_REASON = "it is drained for maintenance"


DAY_MS = 86_400_000


class Failures(NamedTuple):
    """How often attempts at a site have failed for a reason."""

    site: str
    reason: str
    attempts: int


class GroupShare(NamedTuple):
    """What part of all uses a group has of late, and what part it is promised."""

    group: str
    use: float
    share: float
    position: Position


class SiteControl:
    """Shows, drains and undrains sites.

    Parameters
    ----------
    store
        Has the drains, which hold for all processes.
    placer
        Knows the sites.
    """

    def __init__(self, store: Store, placer: Placer, clock: Callable[[], int]) -> None:
        self.store = store
        self.placer = placer
        self.clock = clock

    async def all(self) -> list[dict[str, Any]]:
        """Return what is known of all sites."""
        return [described(view, self.placer.kind_of(name)) for name, view in (await self.placer.views()).items()]

    async def show(self, name: str) -> dict[str, Any]:
        """Return what is known of a site, or raise `NotFound`."""
        self._require(name)
        return described((await self.placer.views())[name], self.placer.kind_of(name))

    async def drain(self, name: str, reason: str, actor: str) -> None:
        """Let no new jobs start at a site.

        Those that run there go on.

        Raises
        ------
        NotFound
            There is no such site.
        UsageError
            The reason is too long, or not printable.
        """
        self._require(name)
        words = reason.strip() or NO_REASON
        if len(words) > REASON_LENGTH or not words.isprintable():
            raise UsageError(f"REASON must be one line of at most {REASON_LENGTH} characters.")
        await self.store.site_states.drain(name, words, self.clock())
        self.placer.forget_views()
        log.warning("a site is drained", site=name, by=actor, reason=words)

    async def undrain(self, name: str, actor: str) -> None:
        """Let jobs start at a site again.

        Raise `NotFound` if there is no such site, or if they could.
        """
        self._require(name)
        if not await self.store.site_states.undrain(name):
            raise NotFound(f"The site {name} is not drained.")
        self.placer.forget_views()
        log.warning("a site is drained no more", site=name, by=actor)

    async def failures(self) -> list[Failures]:
        """Return how attempts have failed in the last day, the most frequent first."""
        counts: Counter[tuple[str, str]] = Counter()
        for row in await self.store.attempts.outcomes(self.clock() - DAY_MS):
            if row.reason:
                counts[row.site, row.reason] += row.count
        return [Failures(site, reason, count) for (site, reason), count in counts.most_common()]

    async def shares(self) -> list[GroupShare]:
        """Return what groups use of late beside what they are promised, the largest use first."""
        now = self.clock()
        table = parts(await self.placer.ledger(now), self.placer.settings.shares, (), now)
        rows = [GroupShare(group, use, share, position(use, share)) for group, (use, share) in table.items()]
        return sorted(rows, key=lambda row: -row.use)

    def _require(self, name: str) -> None:
        if name not in self.placer.configured:
            raise NotFound(f"There is no site {name[:64]!r}. There are: {', '.join(self.placer.configured)}.")


def described(view: SiteView, kind: str) -> dict[str, Any]:
    """Return a site as a JSON object.

    How it is now, its limits, and the facts that count when sites are compared.
    """
    return {
        "site": view.name,
        "kind": kind,
        "reachable": view.reachable,
        "slots": view.slots,
        "waiting": view.waiting,
        "running": view.running,
        "drained": view.drained or None,
        "putAside": view.put_aside or None,
        "contradictions": list(view.contradictions),
        "access": {
            "applications": list(view.applications),
            "owners": list(view.owners),
            "groups": list(view.groups),
            "cpu": view.cpu,
            "memory": view.memory,
            "gpus": view.gpus,
        },
        "facts": {
            "storage": {area: way.value for area, way in view.storage.items()},
            "brings": view.brings,
            "bandwidth": dict(view.bandwidth),
            "anyBandwidth": view.any_bandwidth,
            "downtimes": [_window(window) for window in view.downtimes],
            "carbon": view.carbon,
            "price": view.price,
            "preference": dict(view.preference),
        },
    }


def _window(window: Window) -> Mapping[str, str]:
    return {
        "start": format_instant(window.start_ms),
        "end": format_instant(window.end_ms),
        "reason": window.reason,
    }
