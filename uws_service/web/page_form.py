"""What the form of a page sends, as the request that a program would have sent. Pure.

Beside parameters a form has fields with a point in their names, which no parameter has: ``IMAGE.url`` is the address
of a file, ``table-1.name`` and ``table-1.url`` belong to an uploaded table, ``table-1.part`` to one of an earlier job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from uws_service.applications.problems import Problem
from uws_service.domain.job import Parameter

TABLE_PART = re.compile(r"table-([1-9][0-9]?)")
_FIELD = re.compile(r"(table-[1-9][0-9]?|[A-Za-z][A-Za-z0-9_]*)\.(name|url|part)")
_CHOSEN = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(\d{1,15}):(.*)", re.DOTALL)
Pairs = Sequence[tuple[str, str]]


class Entries(NamedTuple):
    """The entries of a form.

    ``fields`` are those of a request, empty ones among them; ``problems`` are of tables without a name or a file.
    """

    fields: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...] = ()
    without: frozenset[str] = frozenset()
    """Files of the earlier job that are left out."""


def read_entries(fields: Pairs, files: Sequence[Parameter]) -> Entries:
    """Return what a form means."""
    plain: list[tuple[str, str]] = []
    extra: dict[str, dict[str, str]] = {}
    without = set()
    for name, value in fields:
        if match := _FIELD.fullmatch(name):
            extra.setdefault(match[1], {})[match[2]] = value.strip()
        elif name == "WITHOUT":
            without.add(value.upper())
        else:
            plain.append((name, value))
    parts = {file.name for file in files}
    problems: list[Problem] = []
    for name, words in extra.items():
        if TABLE_PART.fullmatch(name):
            plain += _table(name, words, parts, without, problems)
        elif words.get("url"):
            if name in parts:
                problems.append(Problem(name, f"{name}: give a file or an address, not both."))
            plain.append((name, words["url"]))
    has_tables = any(TABLE_PART.fullmatch(name) for name in extra)
    if has_tables and not any(name.upper() == "UPLOAD" for name, _ in plain):
        plain.append(("UPLOAD", ""))  # all tables of the form are empty
    return Entries(tuple(plain), tuple(problems), frozenset(without))


def _table(
    name: str, words: Mapping[str, str], parts: set[str], without: set[str], problems: list[Problem]
) -> list[tuple[str, str]]:
    """Return the UPLOAD of a table (D-026)."""
    earlier = words.get("part", "")
    place = f"param:{name}" if name in parts else words.get("url") or ""
    if not place and earlier and earlier.upper() not in without:
        place = f"param:{earlier}"
    title = words.get("name", "")
    if not place:
        if title and not earlier:
            problems.append(Problem(name, f"Choose a file for the table {title!r}, or give its address."))
        return []
    return [("UPLOAD", f"{title or name.replace('-', '')},{place}")]


def chosen_files(values: Sequence[str]) -> list[Parameter]:
    """Return files that a form will send, from lines ``part:size:name``.

    They are checked before they are sent, so they have no content.
    """
    files = []
    for value in values:
        if match := _CHOSEN.fullmatch(value):
            files.append(Parameter(match[1], match[3], upload="chosen", size=int(match[2])))
    return files
