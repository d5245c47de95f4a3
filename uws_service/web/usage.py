"""What was used: ``/usage``, for callers, managers of groups, administrators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.accounting import KEYS
from uws_service.domain.errors import UsageError
from uws_service.offload import offload
from uws_service.protocol import negotiation
from uws_service.protocol.usage import usage_csv, usage_json, usage_votable
from uws_service.service.accounts import Account, UsageQuery
from uws_service.service.backend import Backend
from uws_service.web import pages
from uws_service.web.call import account_of, call_of
from uws_service.web.faces.base import VOTABLE
from uws_service.web.job_handlers import query_value, query_values
from uws_service.web.replies import NO_STORE, html_reply
from uws_service.web.resource import Resource

FORMS = {
    "votable": "votable",
    VOTABLE: "votable",
    "csv": "csv",
    "text/csv": "csv",
    "json": "json",
    "application/json": "json",
    "html": "html",
    "text/html": "html",
}
"""What RESPONSEFORMAT may be, and the form that it means."""
FILTERS = ("OWNER", "GROUP", "PROJECT", "APPLICATION", "SITE", "KIND", "OUTCOME", "WASTE")
MAX_LINES = 10_000
MAX_VALUES = 100
LAST_INSTANT = 253_402_300_799_999
"""The last millisecond of the year 9999."""
LINE_BYTES = 400


class Usage:
    """Handler of ``/usage``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def usage(self, request: Request) -> Response:
        """GET: sums of what was used, as VOTable, CSV, JSON or a page."""
        call, values = call_of(request), query_values(request)
        form = _form(request, query_value(values, "RESPONSEFORMAT"))
        query = _query(values)
        account = await self.backend.accounts.lines(call.caller, query)
        weight = LINE_BYTES * len(account.lines)
        if form == "html":
            page = pages.usage_page(query.by, account, call.base, account_of(request))
            return html_reply(page)
        if form == "csv":
            text = await offload(weight, usage_csv, query.by, account.lines)
            return Response(text, 200, NO_STORE, "text/csv; header=present")
        if form == "json":
            return JSONResponse(
                usage_json(query.by, account.lines, account.currency, account.methods, overflow=account.overflow),
                headers=NO_STORE,
            )
        document = await offload(weight, _votable, query, account)
        return Response(document, 200, NO_STORE, VOTABLE)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/usage": Resource(
            "usage",
            Policy.ACCOUNT,
            get=(
                usage,
                "What was used, split by `BY` (`owner`, `group`, `project`, `application`, `site`, `kind`, `outcome`, "
                "`waste`, `day`, `month`) from `SINCE` to `UNTIL`. `OWNER`, `GROUP` and the like filter.",
            ),
        ),
    }


def _votable(query: UsageQuery, account: Account) -> bytes:
    infos = {"currency": account.currency}
    for name, method in account.methods.items():
        infos[f"energy_method_{name}"] = json.dumps(method, sort_keys=True)
    return usage_votable(query.by, account.lines, infos, overflow=account.overflow)


def _form(request: Request, name: str | None) -> str:
    """Return the form of the answer (DALI 1.1 §3.4.3)."""
    if name is None:
        chosen = negotiation.choose(request.headers.get("accept"), ("xml", "json", "html"))
        return "votable" if chosen == "xml" else chosen
    form = FORMS.get(name.partition(";")[0].strip().lower())
    if form is None:
        raise UsageError(f"RESPONSEFORMAT: {name[:80]!r} is not possible here; there are votable, csv, json and html.")
    return form


def _query(values: Mapping[str, list[str]]) -> UsageQuery:
    """Read the parameters."""
    by = tuple(word.strip().lower() for text in values.get("BY", []) for word in text.split(",") if word.strip())
    if unknown := [word for word in by if word not in KEYS]:
        raise UsageError(f"BY: {unknown[0][:40]!r} is not possible; there are {', '.join(KEYS)}.")
    if len(set(by)) < len(by):
        raise UsageError("BY names something twice.")
    since = _instant(values, "SINCE", 0)
    until = _instant(values, "UNTIL", LAST_INSTANT)
    if since >= until:
        raise UsageError("UNTIL must be later than SINCE.")
    filters = {name.lower(): tuple(values[name]) for name in FILTERS if name in values}
    for name, texts in filters.items():
        if len(texts) > MAX_VALUES:
            raise UsageError(f"{name.upper()} has more than {MAX_VALUES} values.")
    return UsageQuery(by or ("month",), since, until, filters, _limit(values))


def _limit(values: Mapping[str, list[str]]) -> int:
    text = query_value(dict(values), "MAXREC")
    if text is None:
        return MAX_LINES
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"MAXREC: {text[:40]!r} is no number of lines.")
    return min(int(text), MAX_LINES)


def _instant(values: Mapping[str, list[str]], name: str, default: int) -> int:
    """Return milliseconds of a day or an instant, which are in UTC without a zone."""
    text = query_value(dict(values), name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
        milliseconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(f"{name}: {text[:40]!r} is no date such as 2026-11-01 or 2026-11-01T12:00:00Z.") from None
    return min(max(milliseconds, 0), LAST_INSTANT)
