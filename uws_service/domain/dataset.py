"""Data sets with their files and replicas, as pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

CHECKSUMS = ("sha256", "md5", "adler32")
"""The kinds of checksum, the strongest first."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of a file.

    At a storage area, by URL, or both.
    """

    area: str = ""
    """The storage area that holds it; empty: none that has a name."""
    url: str = ""
    """Where it can be fetched: https, http, davs or dav; empty: by its path alone."""
    path: str = ""
    """Its path below the storage area; empty: not known."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a data set."""

    name: str
    size: int | None = None
    """Bytes; None: the catalogue does not say."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """In lower-case hexadecimal digits, by the kinds of `CHECKSUMS`."""
    replicas: tuple[Replica, ...] = ()


@dataclass(frozen=True, slots=True)
class DataSet:
    """What an identifier stands for."""

    identifier: str
    files: tuple[DataFile, ...] = ()
    is_file: bool = False
    """Whether the identifier is that of a single file."""
    lake: str = ""
    """The catalogue that can bring it to another storage area; empty: none."""

    @property
    def size(self) -> int:
        """Return the bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


@dataclass(frozen=True, slots=True)
class DataParameter:
    """The data sets of one parameter of a job."""

    name: str
    identifiers: tuple[str, ...]
    max_size: int = 0
    """Bytes that all of its files may have together."""
    several: bool = False
    """Whether the parameter may be repeated: its value is a folder then, however many files there are."""
    sets: tuple[DataSet, ...] | None = None
    """None until they are looked up."""

    def files(self) -> Iterator[DataFile]:
        """Yield the files of all sets."""
        for data_set in self.sets or ():
            yield from data_set.files


def data_parameters_of(stored: object) -> tuple[DataParameter, ...]:
    """Return parameters from their JSON value."""
    return tuple(_parameter(item) for item in stored) if isinstance(stored, list | tuple) else ()


def _parameter(item: Mapping[str, object]) -> DataParameter:
    values = dict(item)
    sets = values.pop("sets", None)
    identifiers = values.pop("identifiers")
    assert isinstance(identifiers, list | tuple)
    parsed = None if sets is None else tuple(_data_set(entry) for entry in sets)  # type: ignore[attr-defined]
    return DataParameter(identifiers=tuple(identifiers), sets=parsed, **values)  # type: ignore[arg-type]


def _data_set(item: Mapping[str, object]) -> DataSet:
    files = tuple(
        DataFile(file["name"], file["size"], file["checksums"], tuple(Replica(**entry) for entry in file["replicas"]))
        for file in item["files"]  # type: ignore[attr-defined]
    )
    return DataSet(str(item["identifier"]), files, bool(item["is_file"]), str(item.get("lake") or ""))
