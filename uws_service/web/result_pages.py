"""Pages that show a job's result: rows, plot, sky, image. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlencode

from uws_service.domain.job import Job, Result
from uws_service.web import pages
from uws_service.web.pages import Account
from uws_service.web.result_kinds import kind_of
from uws_service.web.table_pages import Entries, result_view, sky_words


class View(StrEnum):
    """A way to look at a result."""

    TABLE = "table"
    PLOT = "plot"
    SKY = "sky"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Shown:
    """A result on a page, and how one looks at it."""

    job: Job
    result: Result
    url: str
    view: View
    views: tuple[View, ...]
    samp: tuple[str, str] = ("", "")
    """Message and format by which a program on the reader's machine takes it."""


class Paging(NamedTuple):
    """Which rows a page shows, of how many; ``total`` is None if nobody knows yet."""

    offset: int
    limit: int
    sort: str
    descending: bool
    total: int | None
    present: int


def rows_page(
    shown: Shown,
    content: Mapping[str, Any],
    rows: Sequence[Sequence[str | None]],
    paging: Paging,
    base: str,
    account: Account | None = None,
) -> str:
    """Return a page of a table's rows."""
    return _page(
        shown,
        base,
        account,
        columns=content["columns"],
        rows=rows,
        paging=paging,
        links=_links(shown, paging),
        notes=content.get("notes", ()),
        sort_url=lambda name: _sort_url(shown, paging, name),
    )


def _links(shown: Shown, paging: Paging) -> Mapping[str, str]:
    """Return the URLs of other pages, as far as there are any."""
    links = {}
    end = paging.offset + paging.present
    if paging.offset:
        links["First"] = _rows_url(shown, paging, 0)
        links["Previous"] = _rows_url(shown, paging, max(0, paging.offset - paging.limit))
    if paging.present == paging.limit and (paging.total is None or end < paging.total):
        links["Next"] = _rows_url(shown, paging, end)
        if paging.total is not None:
            links["Last"] = _rows_url(shown, paging, (paging.total - 1) // paging.limit * paging.limit)
    return links


def _rows_url(shown: Shown, paging: Paging, offset: int) -> str:
    pairs: list[tuple[str, Any]] = [("VIEW", "table"), ("OFFSET", offset), ("LIMIT", paging.limit)]
    if paging.sort:
        pairs += [("SORT", paging.sort), ("DESC", int(paging.descending))]
    return f"{shown.url}/view?{urlencode(pairs)}"


def _sort_url(shown: Shown, paging: Paging, name: str) -> str:
    """Return the first page in the order of a column; the other way round if it is the order already."""
    descending = paging.sort == name and not paging.descending
    return _rows_url(shown, paging._replace(sort=name, descending=descending), 0)


def overview_page(
    shown: Shown, overview: Mapping[str, Any], axes: Sequence[str], base: str, account: Account | None = None
) -> str:
    """Return the page of a plot or of the sky."""
    view = result_view(overview, Entries(x=axes[0], y=axes[1]))
    return _page(shown, base, account, drawn=view, sky_words=sky_words(overview), notes=overview.get("notes", ()))


def image_page(shown: Shown, base: str, account: Account | None = None) -> str:
    """Return the page of an image."""
    return _page(
        shown, base, account, picture=shown.url if kind_of(shown.result) == "image" else f"{shown.url}/picture"
    )


def _page(shown: Shown, base: str, account: Account | None, **values: Any) -> str:
    job = shown.job
    usual: dict[str, Any] = {"columns": (), "rows": (), "paging": None, "links": {}, "notes": (), "drawn": None,
                             "picture": "", "sort_url": None, "sky_words": ""}  # fmt: skip
    job_url = shown.url.rpartition("/results/")[0]
    return pages.render(
        "viewer.html",
        base,
        account,
        f"/{job.application}/async/{job.id}/results/{shown.result.id}/view",
        shown=shown,
        job=job,
        result=shown.result,
        job_url=job_url,
        shares=f"{job_url}/shares" if job.owner else "",
        **{**usual, **values},
    )
