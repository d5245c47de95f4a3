"""Read the file of a static catalogue; errors name file, line and field."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from uws_service.data.catalogue import Absent, Outcome
from uws_service.data.identifiers import file_name, parse_identifier
from uws_service.data.replicas import checked_checksums, checked_path, checked_size, fetch_url
from uws_service.domain.dataset import CHECKSUMS, DataFile, DataSet, Replica
from uws_service.domain.errors import ConfigurationError, UsageError

INDEX_MAX_BYTES = 2**30
COLUMNS = ("identifier", "file", "size", *CHECKSUMS, "area", "url", "path")
"""Columns of a table: a row for each replica."""
DEPTH_MAX = 20
"""Levels of containers in containers."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path_ = tuple[Any, ...]


class Wrong(Exception):
    """A field that is wrong.

    The message says what is allowed.
    """

    def __init__(self, path: Path_, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Index:
    """The data sets of a file, and the members of its containers."""

    sets: Mapping[str, DataSet]
    members: Mapping[str, tuple[str, ...]]

    def resolve(self, identifier: str) -> Outcome | None:
        """Return a data set, or the files of all members of a container."""
        if identifier not in self.members:
            return self.sets.get(identifier)
        files: list[DataFile] = []
        visited: set[str] = set()
        level = [identifier]
        for _ in range(DEPTH_MAX):
            following: list[str] = []
            for name in level:
                if name in visited:
                    continue
                visited.add(name)
                if name in self.sets:
                    files += self.sets[name].files
                following += self.members.get(name, ())
            if not following:
                return DataSet(identifier, tuple(files))
            level = following
        return Absent(f"{identifier} has containers in containers more than {DEPTH_MAX} deep")


def read_index(path: Path) -> Index:
    """Return the index in a file; raise `ConfigurationError`."""
    try:
        if path.stat().st_size > INDEX_MAX_BYTES:
            raise ConfigurationError(f"{path}: has more than {INDEX_MAX_BYTES} bytes")
        suffix = path.suffix.lower()
        if suffix == ".csv":
            return _from_rows(path, _csv_rows(path))
        if suffix == ".parquet":
            return _from_rows(path, _parquet_rows(path))
        return _from_yaml(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


# --- tables -------------------------------------------------------------------------------------------------------


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                if None in row:
                    raise ConfigurationError(f"{path}:{reader.line_num}: has more fields than the first line")
                size = (row.get("size") or "").strip()
                if size and not size.isdigit():
                    raise ConfigurationError(f"{path}:{reader.line_num}: size: {size[:40]!r} must be a whole number")
                yield reader.line_num, {**row, "size": int(size) if size else None}
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: must be UTF-8: {error.reason} at byte {error.start}") from None
        except csv.Error as error:
            raise ConfigurationError(f"{path}:{reader.line_num}: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigurationError(f"{path}: Parquet needs the package pyarrow; install uws-service[apps]") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            _check_columns(path, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise ConfigurationError(f"{path}: is no Parquet file that can be read: {error}") from None


def _check_columns(path: Path, columns: Any) -> None:
    for needed in ("identifier", "file"):
        if needed not in columns:
            raise ConfigurationError(f"{path}:1: the column {needed!r} is missing; columns: {', '.join(COLUMNS)}")
    for column in columns:
        if column not in COLUMNS:
            raise ConfigurationError(
                f"{path}:1: the column {str(column)[:40]!r} is not known; columns: {', '.join(COLUMNS)}"
            )


def _from_rows(path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]]) -> Index:
    """Return the index of a table.

    Rows with one identifier and file are replicas of that file.
    """
    sets: dict[str, dict[str, DataFile]] = {}
    single: dict[str, bool] = {}
    for line, row in rows:
        try:
            identifier = _identifier(row.get("identifier"), ("identifier",))
            name = str(row.get("file") or "").strip()
            single[identifier] = single.get(identifier, True) and not name
            file = _file({**row, "name": name or file_name(identifier.rpartition(":")[2])}, {}, ())
            file = replace(file, replicas=(_replica(row, {}, ()),))
            files = sets.setdefault(identifier, {})
            earlier = files.get(file.name)
            if earlier is None:
                files[file.name] = file
                continue
            if (earlier.size, earlier.checksums) != (file.size, file.checksums):
                raise Wrong(("file",), f"{file.name!r} has another size or checksum in an earlier line")
            files[file.name] = replace(earlier, replicas=(*earlier.replicas, *file.replicas))
        except Wrong as error:
            raise ConfigurationError(f"{path}:{line}: {'.'.join(map(str, error.path))}: {error}") from None
    return Index({name: DataSet(name, tuple(files.values()), is_file=single[name]) for name, files in sets.items()}, {})


# --- YAML ---------------------------------------------------------------------------------------------------------


def _from_yaml(path: Path) -> Index:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_LOADER)
        content = yaml.safe_load(text) if node is None else _LOADER("").construct_document(node)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: must be UTF-8: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{path}{line}: {getattr(error, 'problem', None) or error}") from None
    try:
        return _index(content if content is not None else {})
    except Wrong as error:
        field = ".".join(str(part) for part in error.path)
        raise ConfigurationError(f"{path}:{_line(node, error.path)}: {field or 'the file'}: {error}") from None


def _line(node: yaml.Node | None, path: Path_) -> int:
    """Return the line of a field, or of what it should be in."""
    line = 0 if node is None else node.start_mark.line
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if pair is None:
                break
            node, line = pair[1], pair[0].start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _index(content: Any) -> Index:
    root = _mapping(content, (), ("areas", "datasets"))
    areas = _mapping(root.get("areas") or {}, ("areas",), None)
    for name, url in areas.items():
        if not isinstance(url, str) or (url and not fetch_url(url)):
            raise Wrong(("areas", name), f"{str(url)[:80]!r} must be an https, http, davs or dav URL, or empty")
    sets: dict[str, DataSet] = {}
    members: dict[str, tuple[str, ...]] = {}
    for number, item in enumerate(_list(root.get("datasets") or [], ("datasets",))):
        path: Path_ = ("datasets", number)
        entry = _mapping(item, path, ("id", "files", "members", "name", "size", *CHECKSUMS, "replicas"))
        identifier = _identifier(entry.get("id"), (*path, "id"))
        if identifier in sets or identifier in members:
            raise Wrong((*path, "id"), f"{identifier!r} is there twice")
        if sum(key in entry for key in ("files", "members", "replicas")) != 1:
            raise Wrong(path, "must have one of files, members (of a container) and replicas (of a single file)")
        if "members" in entry:
            names = _list(entry["members"], (*path, "members"))
            members[identifier] = tuple(_identifier(name, (*path, "members", i)) for i, name in enumerate(names))
        elif "files" in entry:
            files = _list(entry["files"], (*path, "files"))
            parsed = [_file(file, areas, (*path, "files", i)) for i, file in enumerate(files)]
            sets[identifier] = DataSet(identifier, tuple(parsed))
        else:
            name = entry.get("name") or file_name(identifier.rpartition(":")[2])
            sets[identifier] = DataSet(identifier, (_file({**entry, "name": name}, areas, path),), is_file=True)
    for container, contained in members.items():
        for name in contained:
            if name not in sets and name not in members:
                raise Wrong(("datasets",), f"{container} has the member {name[:80]!r}, which is not here")
    return Index(sets, members)


def _file(content: Any, areas: Mapping[str, str], path: Path_) -> DataFile:
    entry = _mapping(content, path, None)
    name = entry.get("name")
    if not isinstance(name, str) or not name or len(name) > 1000:
        raise Wrong((*path, "name"), "must be the name of the file")
    checksums: dict[str, str] = {}
    try:
        size = checked_size(entry.get("size"), "size")
        for kind in CHECKSUMS:
            checksums |= checked_checksums({kind: entry.get(kind)}, kind)
    except ValueError as error:
        field, _, message = str(error).partition(": ")
        raise Wrong((*path, field), message) from None
    replicas = _list(entry.get("replicas") or [], (*path, "replicas"))
    parsed = tuple(_replica(item, areas, (*path, "replicas", i)) for i, item in enumerate(replicas))
    return DataFile(name, size, checksums, parsed)


def _replica(content: Any, areas: Mapping[str, str], path: Path_) -> Replica:
    entry = _mapping(content, path, None)
    area, url = str(entry.get("area") or "").strip(), str(entry.get("url") or "").strip()
    try:
        below = checked_path(str(entry.get("path") or "").strip(), "path")
    except ValueError as error:
        raise Wrong((*path, "path"), str(error).partition(": ")[2]) from None
    if not url and area and below and areas.get(area):
        url = f"{areas[area].rstrip('/')}/{below}"
    if url and not fetch_url(url):
        raise Wrong((*path, "url"), f"{url[:80]!r} must be an https, http, davs or dav URL")
    if not url and not (area and below):
        raise Wrong((*path, "url"), "a replica needs a url, or an area with a path below it")
    return Replica(area, url, below)


def _identifier(value: Any, path: Path_) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong(path, "must be an identifier: scope:name, ivo://… or a URL")
    try:
        return parse_identifier(value.strip()).text
    except UsageError as error:
        raise Wrong(path, error.message) from None


def _mapping(value: Any, path: Path_, keys: tuple[str, ...] | None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Wrong(path, f"must be a mapping, is {_kind(value)}")
    for key in value:
        if keys is not None and key not in keys:
            raise Wrong((*path, key), f"is not known; known: {', '.join(keys)}")
    return value


def _list(value: Any, path: Path_) -> list[Any]:
    if not isinstance(value, list):
        raise Wrong(path, f"must be a list, is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return {"str": "a text", "dict": "a mapping", "list": "a list", "NoneType": "empty"}.get(
        type(value).__name__, type(value).__name__
    )
