"""Facts about sites as SRCNet's Site Capabilities publishes them. Pure.

The API's records are those of its version 0.3.98: ``compute`` with down times, ``storages`` with their areas, both with
the site that they belong to. What makes no sense is left out, and told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from uws_service.placement.model import Window

WORDS_MAX = 200
DOWNTIMES_MAX = 1_000
"""Down times of one compute element that are looked at."""


@dataclass(frozen=True, slots=True)
class Compute:
    """A compute element of a site."""

    site: str = ""
    """The id of the SRCNet site that it belongs to."""
    windows: tuple[Window, ...] = ()
    is_disabled: bool = False
    problems: tuple[str, ...] = ()
    """What its record says that makes no sense."""


@dataclass(frozen=True, slots=True)
class Published:
    """What Site Capabilities says of all sites."""

    computes: Mapping[str, Compute] = field(default_factory=dict)
    """By id."""
    areas: Mapping[str, str] = field(default_factory=dict)
    """The id of the site of each storage area, by the area's id."""

    def areas_of(self, site: str) -> tuple[str, ...]:
        """Return the ids of the storage areas of a site."""
        return tuple(area for area, owner in self.areas.items() if site and owner == site)

    def contradictions(self, compute_id: str, areas: Collection[str]) -> tuple[str, ...]:
        """Return where the settings of a site say other things than what is published: sentences for operators.

        Parameters
        ----------
        areas
            The storage areas that the settings give the site.
        """
        compute = self.computes.get(compute_id)
        if compute is None:
            return (f"Site Capabilities knows no compute element {compute_id}",) if self.computes else ()
        elsewhere = [
            f"the storage area {area} is that of another site in Site Capabilities"
            for area in areas
            if compute.site and self.areas.get(area, compute.site) != compute.site
        ]
        return (*compute.problems, *elsewhere)


def parse_published(computes: Any, storages: Any) -> Published:
    """Return what lists of compute elements and storages say."""
    areas: dict[str, str] = {}
    for storage in _objects(storages):
        for area in _objects(storage.get("areas")):
            if area.get("id"):
                areas[_text(area["id"])] = _text(storage.get("parent_site_id"))
    by_id: dict[str, Compute] = defaultdict(Compute)
    for compute in _objects(computes):
        if compute.get("id"):
            by_id[_text(compute["id"])] = _compute(compute)
    return Published(dict(by_id), areas)


def _compute(record: Mapping[str, Any]) -> Compute:
    windows, problems = [], []
    for entry in _objects(record.get("downtime"))[:DOWNTIMES_MAX]:
        dates = _text(entry.get("date_range"))
        window = _window(dates, _reason(entry))
        if window is None:
            problems.append(
                f"Site Capabilities has a down time {dates!r}, which is no two instants with ' to ' between"
            )
        else:
            windows.append(window)
    site = _text(record.get("parent_site_id"))
    return Compute(site, tuple(windows), record.get("is_force_disabled") is True, tuple(problems))


def _reason(entry: Mapping[str, Any]) -> str:
    return _text(entry.get("reason")) or _text(entry.get("type")).lower()


def _window(dates: str, reason: str) -> Window | None:
    """Return a down time of ``A to B``.

    None if it is none.
    """
    start, separator, end = dates.partition(" to ")
    try:
        begin_ms, end_ms = _instant(start), _instant(end)
    except ValueError:
        return None
    return Window(begin_ms, end_ms, reason) if separator and begin_ms < end_ms else None


def _instant(text: str) -> int:
    instant = datetime.fromisoformat(text.strip())
    instant = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return int(instant.timestamp() * 1000)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Return a value as one printable line.

    Null is empty.
    """
    line = " ".join(str(value if value is not None else "").split())
    return "".join(character for character in line if character.isprintable())[:WORDS_MAX]
