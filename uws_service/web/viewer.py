"""Looking into a job's results: rows, plot, sky and picture of a file, for people and for programs (no part of UWS).

The files are read by processes of their own (`uws_service.viewer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.applications.parameters import single_value
from uws_service.auth.policy import Policy
from uws_service.auth.quotas import party_of
from uws_service.domain.errors import NotFound, UsageError
from uws_service.domain.job import Job, Result
from uws_service.protocol import negotiation
from uws_service.viewer import ResultFile, Viewers
from uws_service.web import result_pages, table_pages
from uws_service.web.call import account_of, call_of
from uws_service.web.job_handlers import JobHandlers, query_values
from uws_service.web.job_view import job_urls
from uws_service.web.replies import NO_STORE, html_reply
from uws_service.web.resource import Resource
from uws_service.web.result_kinds import kind_of, samp_type
from uws_service.web.result_pages import Shown, View

USUAL_ROWS, MAX_ROWS, PAGE_ROWS = 100, 1000, 50
MAX_OFFSET = 2**53
PICTURE_HEADERS = {"cache-control": "private, no-cache", "content-security-policy": "sandbox; default-src 'none'"}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows a request wants."""

    offset: int = 0
    limit: int = PAGE_ROWS
    sort: str = ""
    descending: bool = False

    @classmethod
    def of(cls, values: Mapping[str, list[str]], usual: int) -> Wish:
        """Read OFFSET, LIMIT, SORT and DESC."""
        return cls(
            _number(values, "OFFSET", 0, 0, MAX_OFFSET),
            _number(values, "LIMIT", usual, 1, MAX_ROWS),
            single_value("SORT", values.get("SORT", [])) or "",
            (single_value("DESC", values.get("DESC", [])) or "0").lower() in ("1", "true", "yes"),
        )


class ResultViewer(JobHandlers):
    """Handlers below ``{job}/results/{name}``."""

    async def view(self, request: Request) -> Response:
        """GET …/view: a page; for programs, what there is to see."""
        job, result, viewers = await self._subject(request)
        file, caller = _file(result), _caller(request)
        kind = kind_of(result)
        contents = {"table": kind == "table", "image": kind == "image"}
        if kind == "fits":
            contents = await viewers.contents(file, caller)
        call = call_of(request)
        url = job_urls(call, job.application).result(job.id, result.id)
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) != "html":
            parts = {"rows": contents["table"], "overview": contents["table"], "sky": contents["table"]}
            parts["picture"] = contents["image"] and kind == "fits"
            listed = {name: f"{url}/{name}" for name, present in parts.items() if present}
            return JSONResponse({**contents, **listed}, headers=NO_STORE)
        values = query_values(request)
        views = [View.TABLE, View.PLOT, View.SKY] if contents["table"] else []
        views += [View.IMAGE] if contents["image"] else []
        word = (single_value("VIEW", values.get("VIEW", [])) or views[0]).lower()
        if word not in views:
            raise UsageError(f"VIEW={word[:20]!r} is not possible here; possible: {', '.join(views)}.")
        shown = Shown(job, result, url, View(word), tuple(views), samp=samp_type(result, contents))
        page = await self._page(request, shown, values, viewers)
        response = html_reply(page)
        response.headers.update(table_pages.HEADERS)
        return response

    async def _page(self, request: Request, shown: Shown, values: Mapping[str, list[str]], viewers: Viewers) -> str:
        """Return the page of one view."""
        file, caller, base = _file(shown.result), _caller(request), call_of(request).base
        if shown.view is View.IMAGE:
            return result_pages.image_page(shown, base, account_of(request))
        if shown.view is View.TABLE:
            wish = Wish.of(values, PAGE_ROWS)
            if wish.offset == 0 and not wish.sort:
                content = await viewers.first(file, caller, wish.limit)
                rows = content["rows"]
            else:
                content, rows = await viewers.rows(
                    file, caller, wish.offset, wish.limit, wish.sort, descending=wish.descending, typed=False
                )
            paging = result_pages.Paging(
                wish.offset, wish.limit, wish.sort, wish.descending, content["count"], len(rows)
            )
            return result_pages.rows_page(shown, content, rows, paging, base, account_of(request))
        overview = await viewers.overview(file, caller)
        axes = tuple(single_value(name, values.get(name, [])) or "" for name in ("X", "Y"))
        return result_pages.overview_page(shown, overview, axes, base, account_of(request))

    async def rows(self, request: Request) -> Response:
        """GET …/rows: rows of a table as JSON."""
        _, result, viewers = await self._subject(request)
        wish = Wish.of(query_values(request), USUAL_ROWS)
        overview, rows = await viewers.rows(
            _file(result), _caller(request), wish.offset, wish.limit, wish.sort, descending=wish.descending, typed=True
        )
        content = {"columns": overview["columns"], "count": overview["count"], "offset": wish.offset, "rows": rows}
        return JSONResponse(content, headers=NO_STORE)

    async def overview(self, request: Request) -> Response:
        """GET …/overview: columns, count, and a sample of all numbers as JSON."""
        _, result, viewers = await self._subject(request)
        overview = await viewers.overview(_file(result), _caller(request))
        names = ("columns", "count", "located", "numeric", "sample", "notes")
        return JSONResponse({name: overview[name] for name in names}, headers=NO_STORE)

    async def sky(self, request: Request) -> Response:
        """GET …/sky: all positions of a table as SVG."""
        _, result, viewers = await self._subject(request)
        overview = await viewers.overview(_file(result), _caller(request))
        if not overview["sky"]:
            raise NotFound("The table has no positions: no two columns have the UCDs pos.eq.ra and pos.eq.dec.")
        return Response(overview["sky"], 200, PICTURE_HEADERS, "image/svg+xml")

    async def picture(self, request: Request) -> Response:
        """GET …/picture: the first image of a FITS file as PNG."""
        _, result, viewers = await self._subject(request)
        if kind_of(result) != "fits":
            raise NotFound("The result is no FITS file.")
        return Response(await viewers.picture(_file(result), _caller(request)), 200, PICTURE_HEADERS, "image/png")

    async def _subject(self, request: Request) -> tuple[Job, Result, Viewers]:
        """Return the job and the result that a path names, and what looks into it."""
        job = await self._job(request)
        name = request.path_params["name"]
        result = next((result for result in job.results if result.id == name), None)
        if result is None:
            raise NotFound(f"The job has no result {name[:64]!r}.")
        if self.backend.viewers is None or result.location or not kind_of(result):
            raise NotFound(f"The result {name[:64]!r} can't be looked into; download it.")
        call_of(request).waited = True
        return job, result, self.backend.viewers

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/results/{name}/view": Resource(
            "view",
            Policy.READ,
            get=(view, "A page that shows a table (`VIEW=table`, `plot`, `sky`) or an image; as JSON what there is."),
        ),
        "/{job_id}/results/{name}/rows": Resource(
            "rows",
            Policy.READ,
            get=(
                rows,
                "Rows of a VOTable, FITS, CSV or Parquet result as JSON: `OFFSET`, `LIMIT` (at most 1000), `SORT` by a "
                "column, `DESC=1`.",
            ),
        ),
        "/{job_id}/results/{name}/overview": Resource(
            "overview",
            Policy.READ,
            get=(overview, "Columns and number of rows of such a result, and a random sample of its numbers, as JSON."),
        ),
        "/{job_id}/results/{name}/sky": Resource(
            "sky", Policy.READ, get=(sky, "All positions of such a result on the sky, as SVG.")
        ),
        "/{job_id}/results/{name}/picture": Resource(
            "picture", Policy.READ, get=(picture, "The first image of a FITS result as PNG.")
        ),
    }


def _file(result: Result) -> ResultFile:
    return ResultFile(result.key, result.size, result.sha256)


def _caller(request: Request) -> str:
    call = call_of(request)
    return party_of(call.identity, call.origin)


def _number(values: Mapping[str, list[str]], name: str, usual: int, low: int, high: int) -> int:
    text = single_value(name, values.get(name, []))
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise UsageError(f"{name} must be a number from {low} to {high}, not {text[:20]!r}.")
    return int(text)
