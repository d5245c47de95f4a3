"""Notifications: webhooks, mail and feeds of a caller's jobs, and webhooks of one job (E-020; no part of UWS)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import Forbidden, UsageError
from uws_service.domain.notification import Kind, Subscription, Wish, parse_wish
from uws_service.protocol import atom, negotiation
from uws_service.protocol.uws import format_instant
from uws_service.service.backend import Backend
from uws_service.service.notifications import Notices
from uws_service.web import pages
from uws_service.web.call import Call, account_of, call_of
from uws_service.web.intake import Posted, posted
from uws_service.web.job_handlers import query_value, query_values
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource

FEED_JOBS = 50


class Notifications:
    """Handlers of ``/notifications`` and ``{job}/notifications``."""

    def __init__(self, backend: Backend) -> None:
        assert backend.notices is not None
        self.notices: Notices = backend.notices
        self.service = backend.service
        self.uploads = backend.uploads
        self.limits = backend.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 50})

    async def list(self, request: Request) -> Response:
        """GET /notifications: the caller's, and which kinds there are."""
        call = call_of(request)
        entries = await self.notices.entries(call.caller)
        if _wants_page(request):
            return html_reply(
                pages.notifications_page(entries, self.notices.kinds, call.base, account=account_of(request))
            )
        return JSONResponse(
            {"kinds": list(self.notices.kinds), "notifications": [_shown(entry) for entry in entries]},
            headers=NO_STORE,
        )

    async def add(self, request: Request) -> Response:
        """POST /notifications: a webhook (URL), or KIND=mail, or KIND=feed."""
        call = call_of(request)
        async with posted(request, self.uploads, self.limits, "notifications", leave_out_empty=True) as form:
            document, place = await self._add(call, form)
        if not _wants_page(request):
            return JSONResponse(document, 201, {**NO_STORE, "location": place})
        words = {"secret": "The secret of the webhook", "link": "The address of the feed"}
        secret = next(((text, document[name]) for name, text in words.items() if name in document), None)
        entries = await self.notices.entries(call.caller)
        return html_reply(pages.notifications_page(entries, self.notices.kinds, call.base, secret, account_of(request)))

    async def _add(self, call: Call, form: Posted) -> tuple[dict[str, Any], str]:
        """Make a notification.

        Return its document, with the secret, and its URL.
        """
        secrets: dict[str, str] = {}
        kind, wish = _kind(form), self._wish(form)
        if kind is Kind.WEBHOOK:
            url = form.word("URL")
            if url is None:
                raise UsageError("Post URL, to which events are to be sent; or KIND=mail, or KIND=feed.")
            entry, secrets["secret"] = await self.notices.add_webhook(
                call.caller, url, wish, call.base, secret=form.word("SECRET")
            )
        elif kind is Kind.MAIL:
            entry = await self.notices.add_mail(call.caller, wish, call.base)
        else:
            entry, link = await self.notices.add_feed(call.caller, wish, call.base)
            secrets["link"] = f"{call.base}/feed?SHARE={quote(link, safe='')}"
        return {**_shown(entry), **secrets}, f"{call.base}/notifications/{entry.id}"

    async def show(self, request: Request) -> Response:
        """GET /notifications/{id}."""
        entry = await self.notices.get(call_of(request).caller, request.path_params["notification_id"])
        return JSONResponse(_shown(entry), headers=NO_STORE)

    async def act(self, request: Request) -> Response:
        """POST /notifications/{id}: ACTION=TEST, ROTATE or ENABLE."""
        call, key = call_of(request), request.path_params["notification_id"]
        async with posted(request, self.uploads, self.limits, "notifications") as form:
            action = (form.word("ACTION") or "").upper()
        document: dict[str, Any] = {}
        if action == "TEST":
            await self.notices.test(call.caller, key)
        elif action == "ROTATE":
            document["secret"] = await self.notices.rotate(call.caller, key)
        elif action == "ENABLE":
            await self.notices.enable(call.caller, key)
        elif action == "END":
            await self.notices.end(call.caller, key)
            return see_other(f"{call.base}/notifications")
        else:
            raise UsageError("Post ACTION=TEST, ACTION=ROTATE (another secret), ACTION=ENABLE or ACTION=END.")
        return JSONResponse({**_shown(await self.notices.get(call.caller, key)), **document}, headers=NO_STORE)

    async def end(self, request: Request) -> Response:
        """DELETE /notifications/{id}."""
        await self.notices.end(call_of(request).caller, request.path_params["notification_id"])
        return Response(status_code=204)

    async def list_of_job(self, request: Request) -> Response:
        """GET {job}/notifications."""
        entries = await self.notices.entries(call_of(request).caller, _job(request))
        return JSONResponse({"notifications": [_shown(entry) for entry in entries]}, headers=NO_STORE)

    async def add_of_job(self, request: Request) -> Response:
        """POST {job}/notifications: a webhook of this job, until it has ended."""
        call, job = call_of(request), _job(request)
        async with posted(request, self.uploads, self.limits, job[1]) as form:
            url, secret, wish = form.word("URL"), form.word("SECRET"), self._wish(form)
        if url is None:
            raise UsageError("Post URL, to which the job's events are to be sent.")
        entry, secret = await self.notices.add_webhook(call.caller, url, wish, call.base, secret=secret, job=job)
        place = f"{call.base}/{job[0]}/async/{job[1]}/notifications/{entry.id}"
        return JSONResponse({**_shown(entry), "secret": secret}, 201, {**NO_STORE, "location": place})

    async def end_of_job(self, request: Request) -> Response:
        """DELETE {job}/notifications/{id}."""
        await self.notices.end(call_of(request).caller, request.path_params["notification_id"], _job(request))
        return Response(status_code=204)

    async def feed(self, request: Request) -> Response:
        """GET /feed: Atom, by a link's secret or as oneself."""
        call = call_of(request)
        link = query_value(query_values(request), "SHARE")
        if link is None:
            owner, wish = self.notices.owner_of(call.caller), Wish()
        else:
            entry = await self.notices.feed(link)
            if entry is None:
                raise Forbidden("The link is not good, or has been ended.")
            owner, wish = entry.owner, entry.wish
        jobs = await self.service.views.finished(owner, FEED_JOBS)
        selected = [
            job
            for job in jobs
            if (not wish.phases or job.phase in wish.phases)
            and (not wish.applications or job.application in wish.applications)
        ]
        name = hashlib.sha256(owner.encode()).hexdigest()[:16]
        document = atom.feed(selected, base=call.base, owner=name, now=self.service.clock())
        tag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
        headers = {"cache-control": "private, no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(document, headers={**headers, "content-type": atom.MEDIA_TYPE})

    def _wish(self, form: Posted) -> Wish:
        return parse_wish(
            _words(form, "EVENTS"), _words(form, "PHASES"), _words(form, "APPLICATIONS"), self.notices.applications
        )

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/notifications": Resource(
            "notifications",
            Policy.OWN,
            get=(list, "The caller's [notifications](events.md#notifications), as JSON."),
            post=(
                add,
                "`URL=…`: a webhook, whose secret the answer shows once; `KIND=mail`, `KIND=feed`. `EVENTS`, `PHASES` "
                "and `APPLICATIONS` choose. At most 20.",
            ),
        ),
        "/feed": Resource(
            "feed",
            Policy.OPEN,
            get=(feed, "An Atom feed of finished jobs: the caller's, or those of a link (`SHARE`)."),
        ),
        "/notifications/{notification_id}": Resource(
            "notification",
            Policy.OWN,
            get=(show, "One of them, and how the last try failed."),
            post=(act, "`ACTION=TEST` sends a test, `ROTATE` makes another secret, `ENABLE` tries again."),
            delete=(end, "End it; what waits is dropped."),
        ),
        "/{application}/async/{job_id}/notifications": Resource(
            "job_notifications",
            Policy.WRITE,
            get=(list_of_job, "Webhooks of this job, as JSON."),
            post=(add_of_job, "`URL=…`: a webhook until the job has ended. At most 10."),
        ),
        "/{application}/async/{job_id}/notifications/{notification_id}": Resource(
            "job_notification", Policy.WRITE, delete=(end_of_job, "End it.")
        ),
    }


def _job(request: Request) -> tuple[str, str]:
    return request.path_params["application"], request.path_params["job_id"]


def _words(form: Posted, name: str) -> list[str]:
    """Return the words of a control word, which may be repeated or hold commas."""
    values = [value for key, value in form.fields if key.upper() == name]
    return [word for value in values for part in value.split(",") if (word := part.strip())]


def _wants_page(request: Request) -> bool:
    return negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"


def _kind(form: Posted) -> Kind:
    word = (form.word("KIND") or Kind.WEBHOOK).lower()
    try:
        return Kind(word)
    except ValueError:
        raise UsageError(f"KIND={word[:32]!r} is not possible; possible: {', '.join(Kind)}.") from None


def _shown(entry: Subscription) -> dict[str, Any]:
    def instant(value: int | None) -> str | None:
        return format_instant(value) if value is not None else None

    return {
        "id": entry.id,
        "kind": entry.kind,
        "target": entry.target or None,
        "events": [*entry.wish.events],
        "phases": [*entry.wish.phases] or None,
        "applications": [*entry.wish.applications] or None,
        "created": instant(entry.created),
        "failingSince": instant(entry.failing_since),
        "disabled": instant(entry.disabled),
        "message": entry.message or None,
    }
