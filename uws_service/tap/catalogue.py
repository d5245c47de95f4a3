"""A folder of published tables: what is known of each as JSON, the rows beside it as the engine keeps them.

``{schema}.{table}.json`` is written last and removed first, so a table that is described is complete. It names the
folder of the rows, which is another one each time the table is written.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.domain.errors import ConfigurationError, NotFound, UsageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
"""What schemas and tables are called here: regular identifiers of ADQL."""
TAKEN = frozenset({"tap_schema", "tap_upload", "ivoa", "information_schema", "pg_catalog", "main", "temp", "system"})
"""Schemas, in lower case, that nobody can add tables to."""


@dataclass(frozen=True, slots=True)
class Published:
    """A table with its number of rows, None where nobody counted, and the folder of its rows if they lie in one."""

    table: Table
    rows: int | None = None
    folder: str = ""


def check_name(full_name: str) -> tuple[str, str]:
    """Schema and table of ``schema.table``; `UsageError` if it can't be one."""
    schema, dot, name = full_name.partition(".")
    for what, word in (("schema", schema), ("table", name)):
        if not dot or not NAME.fullmatch(word):
            raise UsageError(
                f"{full_name[:140]!r} can't be the name of a table: write schema.table; the {what} must be a letter "
                "and then letters, digits or '_', at most 63."
            )
    if schema.lower() in TAKEN:
        raise UsageError(f"The schema {schema!r} belongs to the service; choose another one.")
    return schema, name


class Folder:
    """The tables in one folder.

    Parameters
    ----------
    path
        The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self) -> tuple[tuple[str, int], ...]:
        """What changes whenever a table is added or removed: the descriptions and when they were written."""
        try:
            found = [(one.name, one.stat().st_mtime_ns) for one in os.scandir(self.path) if one.name.endswith(".json")]
        except FileNotFoundError:
            return ()
        return tuple(sorted(found))

    def tables(self) -> tuple[Published, ...]:
        """All tables, by name.

        Raises
        ------
        ConfigurationError
            A description can't be read; the text names the file.
        """
        found = []
        for name, _ in self.state():
            path = self.path / name
            try:
                found.append(_from_json(json.loads(path.read_text(encoding="utf-8"))))
            except FileNotFoundError:  # removed just now
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise ConfigurationError(f"{path}: not the description of a table: {error}") from None
        return tuple(sorted(found, key=lambda one: one.table.full_name.lower()))

    def room(self, table: Table) -> Path:
        """A folder, not there yet, for the rows of a table."""
        return self.path / f"{table.full_name.lower()}-{secrets.token_hex(4)}"

    def describe(self, table: Table, rows: int, room: Path) -> None:
        """Publish a table whose rows are there; earlier rows of it go."""
        before = self._find(table.full_name)
        path = self._description(table)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        content = {"rows": rows, "folder": room.name, **asdict(table)}
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)
        if before is not None and before.folder != room.name:
            shutil.rmtree(self.path / before.folder, ignore_errors=True)

    def remove(self, full_name: str) -> Published:
        """Withdraw a table and delete its rows."""
        found = self._find(full_name)
        if found is None:
            known = ", ".join(one.table.full_name for one in self.tables()) or "none"
            raise NotFound(f"There is no table {full_name!r} in {self.path}; there are: {known}.")
        self._description(found.table).unlink(missing_ok=True)
        shutil.rmtree(self.path / found.folder, ignore_errors=True)
        return found

    def _find(self, full_name: str) -> Published | None:
        return next((one for one in self.tables() if one.table.full_name.lower() == full_name.lower()), None)

    def _description(self, table: Table) -> Path:
        return self.path / f"{table.full_name.lower()}.json"


def _from_json(raw: dict[str, Any]) -> Published:
    rows, folder = raw.pop("rows"), raw.pop("folder")
    if not re.fullmatch(r"[a-z0-9_.-]+", folder) or folder.startswith("."):
        raise ValueError(f"{folder!r} is not the name of a folder beside it")
    raw["columns"] = tuple(Column(**one) for one in raw["columns"])
    raw["foreign_keys"] = tuple(
        ForeignKey(tuple(one["columns"]), one["target"], tuple(one["target_columns"]), one["description"])
        for one in raw["foreign_keys"]
    )
    raw["position"] = tuple(raw["position"]) if raw["position"] else None
    return Published(Table(**raw), rows, folder)


def schemas_of(tables: Sequence[Table]) -> tuple[str, ...]:
    """Names of the schemas, in the order of their first tables."""
    return tuple(dict.fromkeys(table.schema for table in tables))
