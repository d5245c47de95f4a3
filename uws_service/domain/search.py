"""A search among an owner's jobs: filters, order, and where a page begins. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from uws_service.domain.errors import UsageError
from uws_service.domain.job import Phase

_CURSOR = re.compile(r"(\d{1,15})-([0-9A-Za-z]{1,64})", re.ASCII)


class Sort(StrEnum):
    """An order of jobs.

    ``-`` is the latest first.
    """

    CREATED_LAST = "-created"
    CREATED_FIRST = "created"
    ENDED_LAST = "-ended"
    ENDED_FIRST = "ended"

    @property
    def is_descending(self) -> bool:
        """Return whether the latest comes first."""
        return self.value.startswith("-")

    @property
    def column(self) -> str:
        """Return what is compared."""
        return self.value.lstrip("-")


class Cursor(NamedTuple):
    """The last job of the page before.

    Its instant in milliseconds, and its id.
    """

    instant: int
    job_id: str

    @classmethod
    def parse(cls, text: str | None) -> Cursor | None:
        """Return the value of a text that a page has given."""
        if text is None:
            return None
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise UsageError(f"CURSOR must be what the page before has as `next`, not {text[:40]!r}.")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.instant}-{self.job_id}"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    None and empty are no filters. Instants are in milliseconds.
    """

    application: str | None = None
    phases: frozenset[Phase] | None = None
    run_id: str | None = None
    name: str = ""
    """A part of the RUNID; the case of a to z does not matter."""
    text: str = ""
    """A part of a parameter's value; the case of a to z does not matter."""
    site: str = ""
    after: int | None = None
    before: int | None = None
    sort: Sort = Sort.CREATED_LAST

    @property
    def is_narrowed(self) -> bool:
        """Return whether there is any filter."""
        return self != Search(sort=self.sort)

    @property
    def has_rest(self) -> bool:
        """Return whether jobs have to be looked at that no index finds."""
        by_end = self.sort.column == "ended" and (self.application is not None or self.phases is not None)
        of_run = self.run_id is not None and (self.application is not None or self.phases is not None)
        return bool(self.name or self.text or self.site or by_end or of_run)


class Row(NamedTuple):
    """A job in a list."""

    id: str
    application: str
    phase: Phase
    run_id: str | None
    created: int
    started: int | None
    ended: int | None
    destruction: int | None
    stored: int
    progress: float | None
    message: str
    site: str


class Page(NamedTuple):
    """A part of a list.

    ``next`` is where another may begin, None at its end.
    """

    rows: list[Row]
    next: Cursor | None
