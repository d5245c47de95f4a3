"""The caller's jobs over all applications: a list that is searched, and actions on many (no part of UWS)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.search import Cursor, Page, Row, Search, Sort
from uws_service.protocol import negotiation, uws
from uws_service.protocol.uws import format_instant
from uws_service.service.backend import Backend
from uws_service.service.selection import Action, Outcome, Selection
from uws_service.web.call import Call, account_of, call_of
from uws_service.web.intake import Posted, posted
from uws_service.web.job_handlers import query_values
from uws_service.web.list_page import all_jobs_page, confirm_page
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource

USUAL_LIMIT, MAX_LIMIT = 50, 500
MAX_NAMED = 1000
DAY_MS = 86_400_000
MAX_DAYS = 3650
FILTERS = ("APPLICATION", "PHASE", "RUNID", "NAME", "TEXT", "SITE", "AFTER", "BEFORE", "SORT")
Values = Mapping[str, list[str]]


class AllJobs:
    """Handlers of ``/jobs``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.selection = Selection(backend.service)
        limits = {"body": 262_144, "files": 0, "parameters": MAX_NAMED + 50}
        self.limits = backend.limits.model_copy(update=limits)

    async def list(self, request: Request) -> Response:
        """GET /jobs: a page of the caller's jobs, found by filters."""
        call, query = call_of(request), query_values(request)
        search = self._search(query)
        limit = _limit(_word(query, "LIMIT"))
        page = await self.selection.page(call.caller, search, Cursor.parse(_word(query, "CURSOR")), limit)
        following = _following(call, query, page, limit)
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            filters = {name: query.get(name, []) for name in FILTERS}
            applications = tuple(self.backend.applications)
            has_filters = any(value for name in FILTERS if name not in ("SORT", "PHASE") for value in filters[name])
            counts = None if has_filters else await self.selection.service.views.newest_counts(call.caller)
            return html_reply(
                all_jobs_page(page.rows, call.base, filters, applications, following, account_of(request), counts)
            )
        document = {"jobs": [_shown(row, call.base) for row in page.rows], "next": following}
        return JSONResponse(document, headers=NO_STORE)

    async def act(self, request: Request) -> Response:
        """POST /jobs: ACTION on the jobs that are named by JOB, or that match the filters."""
        call = call_of(request)
        is_page = negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"
        async with posted(request, self.backend.uploads, self.limits, "selection", leave_out_empty=is_page) as form:
            values = _values(form)
        action, milliseconds = _action(values)
        job_ids = values.get("JOB", [])
        search = self._search(values)
        is_trial = _is_set(values, "DRYRUN")
        if job_ids:
            if len(job_ids) > MAX_NAMED:
                raise UsageError(f"JOB: at most {MAX_NAMED} jobs at once.")
            jobs = await self.selection.named(call.caller, [job_id.rpartition("/")[2] for job_id in job_ids])
            outcome = (
                Outcome(matched=len(jobs))
                if is_trial
                else await self.selection.change_named(call.caller, jobs, action, milliseconds)
            )
        else:
            if not (search.is_narrowed or _is_set(values, "ALL")):
                raise UsageError("Say which jobs: JOB (repeatable), filters such as PHASE and APPLICATION, or ALL=1.")
            cursor = Cursor.parse(_word(values, "CURSOR"))
            outcome = (
                await self.selection.count(call.caller, search, action)
                if is_trial
                else await self.selection.change(call.caller, search, cursor, action, milliseconds)
            )
        if is_page:
            if is_trial:
                return html_reply(confirm_page(action, outcome, call.base, values, account_of(request)))
            return see_other(f"{call.base}/jobs")
        return JSONResponse(_told(outcome, action, call, is_trial=is_trial), headers=NO_STORE)

    def _search(self, values: Values) -> Search:
        """Return the search that a query or a form asks for."""
        application = _word(values, "APPLICATION")
        if application is not None and application not in self.backend.applications:
            raise UsageError(f"APPLICATION: there is no application {application[:64]!r} here.")
        sort = _word(values, "SORT") or Sort.CREATED_LAST
        if sort not in [*Sort]:
            raise UsageError(f"SORT={sort[:20]!r} is not possible; possible: {', '.join(Sort)}.")
        after, before = _word(values, "AFTER"), _word(values, "BEFORE")
        return Search(
            application=application,
            phases=uws.parse_phases(values.get("PHASE", [])),
            run_id=_word(values, "RUNID"),
            name=_word(values, "NAME") or "",
            text=_word(values, "TEXT") or "",
            site=_word(values, "SITE") or "",
            after=uws.parse_instant(after) if after is not None else None,
            before=uws.parse_instant(before) if before is not None else None,
            sort=Sort(sort),
        )

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/jobs": Resource(
            "all_jobs",
            Policy.OWN,
            get=(
                list,
                "The caller's jobs over all applications, as JSON or a page: [filters, order, pages](events.md#lists).",
            ),
            post=(
                act,
                "`ACTION=ABORT`, `DELETE` or `EXTEND` (`DAYS`) on many jobs: `JOB` (repeatable), or filters as for "
                "GET, or `ALL=1`. `DRYRUN=1` counts.",
            ),
        ),
    }


def _values(form: Posted) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in form.fields:
        values.setdefault(name.upper(), []).append(value)
    return values


def _word(values: Values, name: str) -> str | None:
    entries = [value for value in values.get(name, []) if value]
    if len(entries) > 1:
        raise UsageError(f"{name} can be given once.")
    return entries[0] if entries else None


def _is_set(values: Values, name: str) -> bool:
    return (_word(values, name) or "0").lower() in ("1", "true", "yes")


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise UsageError(f"LIMIT must be a number from 1 to {MAX_LIMIT}.")
    return int(text)


def _action(values: Values) -> tuple[Action, int]:
    """Return what is to be done, and for EXTEND by how many milliseconds."""
    word = (_word(values, "ACTION") or "").upper()
    if word not in Action.__members__:
        raise UsageError(f"ACTION must be one of {', '.join(Action)}.")
    days = _word(values, "DAYS")
    if word != Action.EXTEND:
        return Action(word), 0
    if days is None or not (days.isascii() and days.isdigit() and 1 <= int(days[:9]) <= MAX_DAYS):
        raise UsageError(f"DAYS must be a number from 1 to {MAX_DAYS}: by how many the jobs are kept longer.")
    return Action(word), int(days) * DAY_MS


def _following(call: Call, query: Values, page: Page, limit: int) -> str | None:
    """Return the URL of the next page."""
    if page.next is None:
        return None
    pairs = [(name, value) for name in FILTERS for value in query.get(name, []) if value]
    return f"{call.base}/jobs?{urlencode([*pairs, ('LIMIT', limit), ('CURSOR', page.next)])}"


def _shown(row: Row, base: str) -> dict[str, Any]:
    def instant(value: int | None) -> str | None:
        return format_instant(value) if value is not None else None

    return {
        "id": row.id,
        "href": f"{base}/{row.application}/async/{row.id}",
        "application": row.application,
        "phase": row.phase,
        "runId": row.run_id,
        "creationTime": instant(row.created),
        "startTime": instant(row.started),
        "endTime": instant(row.ended),
        "destruction": instant(row.destruction),
        "size": row.stored,
        "progress": row.progress,
        "message": row.message or None,
        "site": row.site or None,
    }


def _told(outcome: Outcome, action: Action, call: Call, *, is_trial: bool) -> dict[str, Any]:
    return {
        "action": action,
        "dryRun": is_trial,
        "matched": outcome.matched,
        "size": outcome.size,
        "changed": outcome.changed,
        "refusals": outcome.refusals,
        "refused": [
            {"job": f"{call.base}/{job.application}/async/{job.id}", "reason": reason}
            for job, reason in outcome.refused
        ],
        "cursor": str(outcome.next) if outcome.next is not None else None,
    }
