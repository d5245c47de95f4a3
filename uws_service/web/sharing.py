"""Shares: others may read a job (no part of UWS).

A link that ends, or the members of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.share import Share
from uws_service.protocol import negotiation, uws
from uws_service.service.backend import Backend
from uws_service.web.call import account_of, call_of
from uws_service.web.intake import posted
from uws_service.web.job_view import job_urls
from uws_service.web.pages import render
from uws_service.web.replies import html_reply, see_other
from uws_service.web.resource import Resource

USUAL = 7 * 86400
"""Seconds that a share lasts if nothing is said."""
NO_STORE = {"cache-control": "no-store"}


class Sharing:
    """Handlers of ``{job}/shares``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.uploads = backend.uploads
        self.limits = backend.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 10})

    async def list(self, request: Request) -> Response:
        """GET {job}/shares: those that have not ended, as JSON or a page.

        Links come without their secrets, which nobody knows any more.
        """
        path = request.path_params
        shares = await self.service.shares.list(path["application"], path["job_id"], call_of(request).caller)
        if _is_page(request):
            return await self._page(request, shares)
        return JSONResponse({"shares": [_shown(share) for share in shares]}, headers=NO_STORE)

    async def _page(
        self, request: Request, shares: Sequence[Share], link: str = "", *, is_link: bool = False
    ) -> Response:
        call, path = call_of(request), request.path_params
        job = await self.service.get(path["application"], path["job_id"], call.caller)
        url = job_urls(call, job.application).job(job.id)
        values = {"url": url, "name": job.run_id or "", "shares": shares, "link": link, "is_link": is_link}
        return html_reply(
            render("shares.html", call.base, account_of(request), f"/{job.application}/async/{job.id}/shares", **values)
        )

    async def share(self, request: Request) -> Response:
        """POST {job}/shares: GROUP, or a link without one.

        EXPIRES is in seconds from now.
        """
        call, path = call_of(request), request.path_params
        is_page = _is_page(request)
        async with posted(request, self.uploads, self.limits, path["job_id"], leave_out_empty=is_page) as form:
            group, expires = form.word("GROUP"), form.word("EXPIRES")
        if group is not None and not (0 < len(group.strip("/")) <= 256 and group.isprintable()):
            raise UsageError("GROUP must be the name of a group.")
        seconds = uws.parse_duration(expires) if expires is not None else USUAL
        share, secret = await self.service.shares.create(
            path["application"],
            path["job_id"],
            call.caller,
            expires=self.service.clock() + seconds * 1000,
            group=group,
        )
        job = job_urls(call, path["application"]).job(path["job_id"])
        link = f"{job}?SHARE={quote(secret, safe='')}" if secret is not None else job
        if is_page:
            shares = await self.service.shares.list(path["application"], path["job_id"], call.caller)
            return await self._page(request, shares, link, is_link=secret is not None)
        headers = {"location": f"{job}/shares/{share.id}", **NO_STORE}
        return JSONResponse({**_shown(share), "link": link}, 201, headers)

    async def end(self, request: Request) -> Response:
        """DELETE {job}/shares/{id}."""
        call, path = call_of(request), request.path_params
        await self.service.shares.end(path["application"], path["job_id"], call.caller, path["share_id"])
        return Response(status_code=204)

    async def act(self, request: Request) -> Response:
        """POST {job}/shares/{id}: ACTION=END, as DELETE for forms."""
        call, path = call_of(request), request.path_params
        async with posted(request, self.uploads, self.limits, path["job_id"]) as form:
            if (form.word("ACTION") or "").upper() != "END":
                raise UsageError("ACTION must be END.")
            from_account = form.word("FROM") == "account"
        await self.service.shares.end(path["application"], path["job_id"], call.caller, path["share_id"])
        job = job_urls(call, path["application"]).job(path["job_id"])
        return see_other(f"{call.base}/account" if from_account else f"{job}/shares")

    # A sharer alone sees with whom a job is shared.
    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/shares": Resource(
            "shares",
            Policy.WRITE,
            get=(list, "With whom the job is shared, as JSON or a page."),
            post=(
                share,
                "`GROUP=name` shares it with a group, no `GROUP` makes a link; `EXPIRES=seconds`. At most 100.",
            ),
        ),
        "/{job_id}/shares/{share_id}": Resource(
            "share",
            Policy.WRITE,
            delete=(end, "Take a share back."),
            post=(act, "`ACTION=END` takes a share back; 303 to `{job}/shares`."),
        ),
    }


def _is_page(request: Request) -> bool:
    return negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"


def _shown(share: Share) -> dict[str, object]:
    return {
        "id": share.id,
        "group": share.group,
        "by": share.actor,
        "created": uws.format_instant(share.created),
        "expires": uws.format_instant(share.expires),
    }
