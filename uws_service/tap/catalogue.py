"""A folder of published tables: what is known of each as JSON, the rows beside it as the engine keeps them.

``{schema}.{table}.json`` is written last and removed first, so a table that is described is complete.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uws_service.adql.model import Column, ForeignKey, Table
from uws_service.errors import ConfigurationError, NotFound, UsageError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
"""What schemas and tables are called here: regular identifiers of ADQL."""
TAKEN = frozenset({"tap_schema", "tap_upload", "ivoa", "information_schema", "pg_catalog", "main", "temp", "system"})
"""Schemas, in lower case, that nobody can add tables to."""


@dataclass(frozen=True, slots=True)
class Published:
    """A table with its number of rows, None where nobody counted."""

    table: Table
    rows: int | None = None


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

    def describe(self, published: Published) -> None:
        """Publish a table whose rows are there."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self._description(published.table)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.write_text(json.dumps(_to_json(published), indent=1, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)

    def withdraw(self, full_name: str) -> Table:
        """Take a table's description away and return what it said; its rows are still there."""
        for one in self.tables():
            if one.table.full_name.lower() == full_name.lower():
                self._description(one.table).unlink(missing_ok=True)
                return one.table
        known = ", ".join(one.table.full_name for one in self.tables()) or "none"
        raise NotFound(f"There is no table {full_name!r} in {self.path}; there are: {known}.")

    def _description(self, table: Table) -> Path:
        return self.path / f"{table.full_name.lower()}.json"


def _to_json(published: Published) -> dict[str, Any]:
    return {"rows": published.rows, **asdict(published.table)}


def _from_json(raw: dict[str, Any]) -> Published:
    rows = raw.pop("rows")
    raw["columns"] = tuple(Column(**one) for one in raw["columns"])
    raw["foreign_keys"] = tuple(
        ForeignKey(tuple(one["columns"]), one["target"], tuple(one["target_columns"]), one["description"])
        for one in raw["foreign_keys"]
    )
    raw["position"] = tuple(raw["position"]) if raw["position"] else None
    return Published(Table(**raw), rows)


def schemas_of(tables: Sequence[Table]) -> tuple[str, ...]:
    """Names of the schemas, in the order of their first tables."""
    return tuple(dict.fromkeys(table.schema for table in tables))
