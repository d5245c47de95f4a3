"""Every query of the corpus on every engine.

Rows must agree within tolerance, errors in words, line and column.
A query of `corpus/*.yaml` has ``rows`` and ``columns``, or ``error`` with ``line`` and ``column``, or ``fails`` with
what its values lead to. ``exact: true`` allows no tolerance. ``pgsphere: true`` marks what PostgreSQL needs pgsphere
for.
"""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adql.sky import ask
from uws_service.adql import AdqlError
from uws_service.domain.errors import UsageError
from uws_service.tap.engines.base import Engine

RELATIVE, ABSOLUTE = 1e-9, 1e-11  # how far numbers may be from the corpus' ones
CORPUS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "corpus").glob("*.yaml"))
}


def test_the_corpus_is_large() -> None:
    queries = [entry["query"] for entries in CORPUS.values() for entry in entries]
    assert len(queries) == len(set(queries)) >= 400


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name: str, engine: Engine) -> None:
    wrong = [f"{entry['query']!r}: {fault}" for entry in CORPUS[name] if (fault := _fault(engine, entry))]
    assert not wrong, "\n".join(wrong)


def _fault(engine: Engine, entry: dict[str, Any]) -> str | None:
    """Return what is not as the corpus says."""
    try:
        translation, rows = ask(engine, entry["query"])
    except AdqlError as error:
        if entry.get("pgsphere") and engine.dialect == "postgresql":
            return None if "pgsphere" in error.reason else f"refused with other words: {error}"
        if "error" not in entry:
            return f"refused: {error}"
        words = f"{error.reason}. {error.hint}" if error.hint else error.reason
        actual, expected = (words, error.line, error.column), (entry["error"], entry["line"], entry["column"])
        return None if actual == expected else f"{actual} instead of {expected}"
    except UsageError as error:
        return None if entry.get("fails") == error.message else f"failed: {error.message}"
    if "rows" not in entry:
        return f"not refused but answered with {rows}"
    names = [column.name for column in translation.columns]
    if names != entry["columns"]:
        return f"columns {names} instead of {entry['columns']}"
    wanted_rows = entry["rows"]
    if "ORDER BY" not in entry["query"].upper():
        rows, wanted_rows = sorted(rows, key=_key), sorted(wanted_rows, key=_key)
    if entry.get("exact"):
        return None if rows == wanted_rows else f"{rows} instead of exactly {wanted_rows}"
    return None if _close(rows, wanted_rows) else f"{rows} instead of {wanted_rows}"


def _key(row: list[Any]) -> str:
    return str([f"{v:.6g}" if isinstance(v, float) else v for v in row])


def _close(actual: Any, expected: Any) -> bool:
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(_close(a, b) for a, b in zip(actual, expected, strict=True))
    if isinstance(actual, float) and math.isnan(actual):
        return bool(expected == "NaN")
    if isinstance(actual, datetime.datetime):
        return bool(actual.isoformat() == expected)
    if isinstance(actual, bool) or isinstance(expected, bool):
        return actual is expected
    if isinstance(actual, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(actual, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(actual == expected)
