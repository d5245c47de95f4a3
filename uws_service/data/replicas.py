"""Decisions about resolved data sets: bounds, checksums, which bytes are where. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from uws_service.data.identifiers import file_name
from uws_service.domain.attempt import Input, Launch, Mount
from uws_service.domain.dataset import CHECKSUMS, DataFile, DataParameter, Replica
from uws_service.domain.errors import UsageError

SIZE_MAX = 2**60
"""Bytes of one file; a catalogue that says more is wrong."""
REPLICAS_MAX = 50
"""Replicas of one file that are kept."""
DIGITS = {"sha256": 64, "md5": 32, "adler32": 8}
_HEX = re.compile(r"[0-9a-f]+")
_SCHEMES = {"https": "https", "davs": "https", "http": "http", "dav": "http"}


class Unusable(Exception):
    """Data that a job can't have.

    The message says why.
    """


# --- what catalogues say ------------------------------------------------------------------------------------------


def checked_size(value: object, place: str) -> int | None:
    """Return the size of a file, or raise `ValueError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SIZE_MAX:
        raise ValueError(f"{place}: the size {value!r} must be a whole number of bytes from 0 to {SIZE_MAX}")
    return value


def checked_checksums(values: Mapping[str, object], place: str) -> dict[str, str]:
    """Return the checksums that are there, or raise `ValueError`."""
    checksums = {}
    for kind in CHECKSUMS:
        value = values.get(kind)
        if value in (None, ""):
            continue
        text = str(value).strip().lower()
        if kind == "adler32":
            text = text.zfill(8)
        if len(text) != DIGITS[kind] or not _HEX.fullmatch(text):
            raise ValueError(f"{place}: {kind} {str(value)[:80]!r} must be {DIGITS[kind]} hexadecimal digits")
        checksums[kind] = text
    return checksums


def checked_path(text: str, place: str) -> str:
    """Return a path below a storage area, or raise `ValueError`."""
    path = text.lstrip("/")
    parts = path.split("/")
    if not path:
        return ""
    if any(part in ("", ".", "..") for part in parts) or any(
        character < " " or character == "\x7f" for character in path
    ):
        raise ValueError(
            f"{place}: the path {text[:80]!r} must lie below the storage area, without empty parts, '.' and '..'"
        )
    if len(path) > 2000:
        raise ValueError(f"{place}: the path has more than 2000 characters")
    return path


def fetch_url(url: str) -> str:
    """Return a replica's URL as http or https.

    Empty if it can't be fetched so.
    """
    scheme, separator, rest = url.partition("://")
    name = _SCHEMES.get(scheme.lower())
    if not separator or name is None or any(character <= " " or character == "\x7f" for character in url):
        return ""
    return f"{name}://{rest}"


# --- bounds -------------------------------------------------------------------------------------------------------


def check_parameter(parameter: DataParameter, max_files: int) -> None:
    """Raise `Unusable` unless a job may have the data.

    Each file must have a replica, all of them together not too many bytes, and no two the same name.
    """
    names: set[str] = set()
    total = 0
    for data_set in parameter.sets or ():
        if not data_set.files:
            raise Unusable(f"{parameter.name}: {data_set.identifier} has no files.")
        for file in data_set.files:
            if len(names) >= max_files:
                raise Unusable(f"{parameter.name}: the data have more than {max_files} files; a job takes no more.")
            total += file.size or 0
            if total > parameter.max_size:
                raise Unusable(
                    f"{parameter.name}: the data have more than the {parameter.max_size} bytes that the application "
                    "takes."
                )
            if not any(is_usable(replica) for replica in file.replicas):
                label = data_set.identifier if data_set.is_file else f"{file.name} of {data_set.identifier}"
                raise Unusable(f"{parameter.name}: {label} has no replica that is available.")
            name = file_name(file.name)
            if name in names:
                raise Unusable(f"{parameter.name}: two files have the name {name!r}; name one data set at a time.")
            names.add(name)


def is_usable(replica: Replica) -> bool:
    """Return whether a replica can be fetched or mounted."""
    return bool(fetch_url(replica.url) or (replica.area and replica.path))


# --- the way to the data at a site --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage area that a site has."""

    area: str
    volume: str = ""
    """The name of the pod's volume that holds it, or its folder at a site without pods; empty: it is only near."""
    path: str = ""
    """Its folder below the volume."""
    takes_results: bool = False
    """Whether results for the data lake are put there."""
    brings: bool = False
    """Whether copies of data that the site does not have are made there."""
    mounts_max: int = 0
    """So many files can be mounted for one job, 0: any number; the others are fetched."""


def bind(launch: Launch, storage: Sequence[Storage]) -> Launch:
    """Return what an attempt runs at a site with these storage areas.

    The files of its data sets are inputs then: mounted if an area of the site has them, else to be fetched from the
    nearest replica, those of the site's own areas first.

    Raises
    ------
    UsageError
        A file can be neither mounted nor fetched at this site, or another input lies at its path.
    """
    if not launch.data or any(parameter.sets is None for parameter in launch.data):
        return launch
    inputs: list[Input] = []
    away: list[str] = []
    paths = {}
    mounts: Counter[str] = Counter()
    for parameter in launch.data:
        folder = f"data/{parameter.name}"
        single = not parameter.several and parameter.sets is not None and parameter.sets[0].is_file
        for file in parameter.files():
            open_areas = [entry for entry in storage if not entry.mounts_max or mounts[entry.area] < entry.mounts_max]
            path = f"{folder}/{file_name(file.name)}"
            inputs.append(_input(parameter, file, path, _mount(file, open_areas), storage))
            mounts.update([inputs[-1].mount.area] if inputs[-1].mount is not None else [])
            away += [] if is_near(file, storage) else [path]
        paths[parameter.name.upper()] = inputs[-1].path if single else folder
    _require_apart(launch.inputs, inputs)
    command = tuple(_expand(word, paths) for word in launch.command)
    return replace(launch, command=command, inputs=(*launch.inputs, *inputs), away=tuple(away))


def is_near(file: DataFile, storage: Iterable[Storage]) -> bool:
    """Return whether a storage area of a site has a file."""
    areas = {entry.area for entry in storage}
    return any(replica.area in areas for replica in file.replicas)


def brought_bytes(before: Iterable[DataParameter], now: Iterable[DataParameter], storage: Sequence[Storage]) -> int:
    """Return the bytes of files that a site's storage areas have now and had not before, each file once."""
    missing = {
        (data_set.identifier, file.name)
        for parameter in before
        for data_set in parameter.sets or ()
        for file in data_set.files
        if not is_near(file, storage)
    }
    sizes = {
        (data_set.identifier, file.name): file.size or 0
        for parameter in now
        for data_set in parameter.sets or ()
        for file in data_set.files
        if is_near(file, storage)
    }
    return sum(size for key, size in sizes.items() if key in missing)


def _require_apart(others: Iterable[Input], data: Iterable[Input]) -> None:
    """Raise `UsageError` if an input is where a file of the data is, or a folder of either."""
    files = {item.path for item in data}
    occupied = files | {str(folder) for path in files for folder in PurePosixPath(path).parents}
    for item in others:
        path = PurePosixPath(item.path)
        if str(path) in occupied or any(str(folder) in files for folder in path.parents):
            raise UsageError(f"{item.name}: at the path {item.path[:80]!r} are the job's data; choose another one.")


_DATA_PATH = re.compile(r"\$\{UWS_DATA:([A-Za-z][A-Za-z0-9_]*)\}")


def data_path(name: str) -> str:
    """Return what stands in a command for the path of a parameter's data until they are looked up."""
    return f"${{UWS_DATA:{name.upper()}}}"


def _expand(word: str, paths: Mapping[str, str]) -> str:
    return _DATA_PATH.sub(
        lambda match: f"${{UWS_INPUT_DIR}}/{paths[match[1]]}" if match[1] in paths else match[0], word
    )


def _input(
    parameter: DataParameter, file: DataFile, path: str, mount: Mount | None, storage: Sequence[Storage]
) -> Input:
    label = f"{parameter.name}: {file.name}"
    urls = _urls(file, {entry.area for entry in storage})
    if mount is None and not urls:
        raise UsageError(f"{label} can be neither mounted nor fetched at this site.")
    return Input(
        label,
        path,
        url=urls[0] if urls else None,
        max_size=parameter.max_size if file.size is None else file.size,
        size=file.size,
        checksums=dict(file.checksums),
        urls=urls[1:],
        mount=mount,
    )


def _mount(file: DataFile, storage: Sequence[Storage]) -> Mount | None:
    """Return where the site has a file, by the order of its areas."""
    for entry in storage:
        for replica in file.replicas:
            if entry.volume and replica.area == entry.area and replica.path:
                path = PurePosixPath(entry.path) / checked_path(replica.path, file.name)
                return Mount(entry.volume, str(path), entry.area)
    return None


def _urls(file: DataFile, near: Collection[str]) -> tuple[str, ...]:
    """Return the URLs to fetch a file from, near ones first."""
    replicas = sorted(file.replicas, key=lambda replica: replica.area not in near)
    return tuple(dict.fromkeys(url for replica in replicas if (url := fetch_url(replica.url))))
