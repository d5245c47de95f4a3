"""The index of a collection of images.

It is a text file with a JSON object a line, one line an image.
``uws-service images add`` writes it; a line can be changed by hand. The service reads an image's place from here and
from nowhere else: what a client sends is compared with the ids, and never becomes a path or a URL.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from uws_service.domain.errors import ConfigurationError

MAX_ID_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """An image: its place and metadata for ObsCore 1.1.

    ``id`` is its publisher DID; ``source`` a place as in `uws_service.soda.sources`; ``size`` bytes. ``circle`` is
    longitude, latitude and radius of a circle that holds it, ``region`` its outline as pairs of longitude and latitude,
    both in ICRS degrees. ``band`` in metres, ``time`` in MJD, ``exposure`` in seconds, ``scale`` arcseconds of a pixel;
    ``axes`` are pixels along each axis of the first image, ``kind`` is ``image`` or ``cube``.
    """

    id: str
    source: str
    title: str
    size: int
    circle: tuple[float, float, float]
    region: tuple[float, ...] = ()
    axes: tuple[int, ...] = ()
    kind: str = "image"
    scale: float | None = None
    band: tuple[float, float] | None = None
    channels: int | None = None
    time: tuple[float, float] | None = None
    exposure: float | None = None
    pol: tuple[str, ...] = ()
    target: str = ""
    collection: str = ""
    facility: str = ""
    instrument: str = ""
    level: int = 2


_FIELDS = {field.name for field in fields(Entry)}
_TUPLES = {"circle", "region", "axes", "band", "time", "pol"}


class Index:
    """A collection's index.

    Parameters
    ----------
    place
        The file, or ``package://NAME/path`` for a file of an installed Python package.
    """

    def __init__(self, place: str) -> None:
        self.path = _index_path(place)
        self.folder = self.path.parent
        self._entries: dict[str, Entry] = {}
        self._stamp: tuple[int, int] | None = None

    def entries(self) -> dict[str, Entry]:
        """Return all images by id, in the order of the file.

        The file is read again when it has changed.

        Raises
        ------
        ConfigurationError
            Names file and line.
        """
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._entries = {entry.id: entry for entry in self._read(None)}
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self.path}: {_reason(error)}") from None
        return self._entries

    def find(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Return the images with these ids.

        Other lines are not parsed.
        """
        requested_ids = set(ids)
        try:
            return {entry.id: entry for entry in self._read(requested_ids) if entry.id in requested_ids}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self.path.name}: {_reason(error)}") from None

    def _read(self, requested_ids: set[str] | None) -> Iterator[Entry]:
        quoted_ids = None
        if requested_ids is not None:
            quoted_ids = {
                json.dumps(id_, ensure_ascii=ascii_only) for id_ in requested_ids for ascii_only in (False, True)
            }
        with self.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or (quoted_ids is not None and not any(word in line for word in quoted_ids)):
                    continue
                try:
                    entry = from_json(json.loads(line))
                except (ValueError, TypeError) as error:
                    raise ConfigurationError(f"{self.path.name}:{number}: {error}") from None
                if is_installed(entry):
                    yield entry

    def write(self, entries: Iterable[Entry]) -> None:
        """Replace the file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".images-", text=True)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(to_json(entry), ensure_ascii=False) + "\n" for entry in entries)
            os.chmod(name, 0o644)
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise


def is_installed(entry: Entry) -> bool:
    """Return whether an image's Python package is installed."""
    if not entry.source.startswith("package://"):
        return True
    top = entry.source.removeprefix("package://").partition("/")[0]
    return top.isidentifier() and importlib.util.find_spec(top) is not None


def to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as written, without unknown values."""
    return {name: value for name, value in asdict(entry).items() if value not in (None, "", ())}


def from_json(content: Any) -> Entry:
    """Return an entry as read, or raise `ValueError`."""
    if not isinstance(content, dict):
        raise ValueError("must be a JSON object")
    if unknown := sorted(set(content) - _FIELDS):
        raise ValueError(f"{unknown[0]} is not known; known: {', '.join(sorted(_FIELDS))}")
    for name in ("id", "source", "title", "size", "circle"):
        if name not in content:
            raise ValueError(f"{name} is missing")
    id_ = content["id"]
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID_CHARACTERS or not id_.isprintable():
        raise ValueError(f"id must be a text of 1 to {MAX_ID_CHARACTERS} printable characters")
    values: dict[str, Any] = {name: tuple(value) if name in _TUPLES else value for name, value in content.items()}
    for name, count in (("circle", 3), ("band", 2), ("time", 2)):
        numbers = values.get(name)
        allowed = _is_number if name == "circle" else _is_bound
        if numbers is not None and (len(numbers) != count or not all(map(allowed, numbers))):
            raise ValueError(f"{name} must be {count} numbers")
    if not all(map(_is_number, values.get("region", ()))):
        raise ValueError("region must be numbers")
    for name in ("scale", "exposure"):
        if values.get(name) is not None and not _is_number(values[name]):
            raise ValueError(f"{name} must be a number")
    for name in ("size", "level", "channels"):
        if values.get(name) is not None and not _is_count(values[name]):
            raise ValueError(f"{name} must be a whole number")
    if not all(map(_is_count, values.get("axes", ()))):
        raise ValueError("axes must be whole numbers")
    for name in ("source", "title", "kind", "target", "collection", "facility", "instrument"):
        if not isinstance(values.get(name, ""), str):
            raise ValueError(f"{name} must be a text")
    if not all(isinstance(state, str) for state in values.get("pol", ())):
        raise ValueError("pol must be texts")
    return Entry(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_bound(value: Any) -> bool:
    """Return whether a value bounds an interval.

    It may be infinite.
    """
    return _is_number(value) or value in (math.inf, -math.inf)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror or error)


def _index_path(place: str) -> Path:
    """Return the file of an index.

    Those of packages are found without importing what reads images.
    """
    if not place.startswith("package://"):
        return Path(place).absolute()
    top, _, relative = place.removeprefix("package://").partition("/")
    spec = importlib.util.find_spec(top) if top.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigurationError(f"{place}: the Python package {top!r} is not installed")
    return Path(places[0]) / relative
