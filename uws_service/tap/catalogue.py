"""A folder of published tables.

Each table has a description in JSON, ``{schema}.{table}.json``, which names the folder of its rows. The description is
written last and removed first, so a described table is complete. Rows get a new folder each time they are written.
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
"""Names of schemas and tables: regular identifiers of ADQL."""
RESERVED_SCHEMAS = frozenset(
    {"tap_schema", "tap_upload", "ivoa", "information_schema", "pg_catalog", "main", "temp", "system"}
)
"""Schemas, in lower case, that tables can't be added to."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published table.

    ``rows`` is None where the number is unknown; ``folder`` is empty for tables in a database.
    """

    table: Table
    rows: int | None = None
    folder: str = ""


def check_name(full_name: str) -> tuple[str, str]:
    """Split ``schema.table``; `UsageError` for an invalid name."""
    schema, dot, name = full_name.partition(".")
    for kind, word in (("schema", schema), ("table", name)):
        if not dot or not NAME.fullmatch(word):
            raise UsageError(
                f"{full_name[:140]!r} can't be the name of a table: write schema.table; the {kind} must be a letter "
                "and then letters, digits or '_', at most 63."
            )
    if schema.lower() in RESERVED_SCHEMAS:
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
        """Return a value that changes with the published tables."""
        try:
            entries = [
                (entry.name, entry.stat().st_mtime_ns)
                for entry in os.scandir(self.path)
                if entry.name.endswith(".json")
            ]
        except FileNotFoundError:
            return ()
        return tuple(sorted(entries))

    def tables(self) -> tuple[Published, ...]:
        """Return all tables, sorted by name.

        Raises
        ------
        ConfigurationError
            A description can't be read; the text names the file.
        """
        tables = []
        for name, _ in self.state():
            path = self.path / name
            try:
                tables.append(_from_json(json.loads(path.read_text(encoding="utf-8"))))
            except FileNotFoundError:  # removed just now
                continue
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise ConfigurationError(f"{path}: not the description of a table: {error}") from None
        return tuple(sorted(tables, key=lambda published: published.table.full_name.lower()))

    def new_folder(self, table: Table) -> Path:
        """Return a new folder name for a table's rows."""
        return self.path / f"{table.full_name.lower()}-{secrets.token_hex(4)}"

    def describe(self, table: Table, rows: int, folder_of_rows: Path) -> None:
        """Publish a table whose rows are written.

        Replace earlier rows.
        """
        before = self._find(table.full_name)
        path = self._description(table)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        content = {"rows": rows, "folder": folder_of_rows.name, **asdict(table)}
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)
        if before is not None and before.folder != folder_of_rows.name:
            shutil.rmtree(self.path / before.folder, ignore_errors=True)

    def remove(self, full_name: str) -> Published:
        """Withdraw a table and delete its rows."""
        published = self._find(full_name)
        if published is None:
            names = ", ".join(table.table.full_name for table in self.tables()) or "none"
            raise NotFound(f"There is no table {full_name!r} in {self.path}; there are: {names}.")
        self._description(published.table).unlink(missing_ok=True)
        shutil.rmtree(self.path / published.folder, ignore_errors=True)
        return published

    def _find(self, full_name: str) -> Published | None:
        return next(
            (published for published in self.tables() if published.table.full_name.lower() == full_name.lower()), None
        )

    def _description(self, table: Table) -> Path:
        return self.path / f"{table.full_name.lower()}.json"


def _from_json(raw: dict[str, Any]) -> Published:
    rows, folder = raw.pop("rows"), raw.pop("folder")
    if not re.fullmatch(r"[a-z0-9_.-]+", folder) or folder.startswith("."):
        raise ValueError(f"{folder!r} is not the name of a folder beside it")
    raw["columns"] = tuple(Column(**item) for item in raw["columns"])
    raw["foreign_keys"] = tuple(
        ForeignKey(tuple(item["columns"]), item["target"], tuple(item["target_columns"]), item["description"])
        for item in raw["foreign_keys"]
    )
    raw["position"] = tuple(raw["position"]) if raw["position"] else None
    return Published(Table(**raw), rows, folder)


def schemas_of(tables: Sequence[Table]) -> tuple[str, ...]:
    """Return the schemas' names in order of appearance."""
    return tuple(dict.fromkeys(table.schema for table in tables))
