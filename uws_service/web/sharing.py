"""Shares of a job: others may read it, by a link that ends or as members of a group (no part of UWS)."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.share import Share
from uws_service.protocol import uws
from uws_service.service.backend import Backend
from uws_service.web.edge import Resource, call_of
from uws_service.web.intake import posted
from uws_service.web.job_view import job_urls

USUAL = 7 * 86400
"""Seconds that a share lasts if nothing is said."""
NO_STORE = {"cache-control": "no-store"}


class Sharing:
    """Handlers of ``{job}/shares``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.uploads = backend.uploads
        self.limits = backend.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 10})

    def resources(self) -> dict[str, Resource]:
        """Path below ``/{application}/async`` → resource. A sharer alone sees with whom a job is shared."""
        return {
            "/{job_id}/shares": Resource("shares", Policy.WRITE, get=self.list, post=self.share),
            "/{job_id}/shares/{share_id}": Resource("share", Policy.WRITE, delete=self.end),
        }

    async def list(self, request: Request) -> Response:
        """GET {job}/shares: those that have not ended; without the secrets of links, which nobody knows any more."""
        path = request.path_params
        found = await self.service.shares.list(path["application"], path["job_id"], call_of(request).caller)
        return JSONResponse({"shares": [_shown(one) for one in found]}, headers=NO_STORE)

    async def share(self, request: Request) -> Response:
        """POST {job}/shares: GROUP shares with a group, none makes a link; EXPIRES in seconds from now."""
        call, path = call_of(request), request.path_params
        async with posted(request, self.uploads, self.limits, path["job_id"]) as form:
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
        headers = {"location": f"{job}/shares/{share.id}", **NO_STORE}
        return JSONResponse({**_shown(share), "link": link}, 201, headers)

    async def end(self, request: Request) -> Response:
        """DELETE {job}/shares/{id}."""
        call, path = call_of(request), request.path_params
        await self.service.shares.end(path["application"], path["job_id"], call.caller, path["share_id"])
        return Response(status_code=204)


def _shown(share: Share) -> dict[str, object]:
    return {
        "id": share.id,
        "group": share.group,
        "by": share.actor,
        "created": uws.format_instant(share.created),
        "expires": uws.format_instant(share.expires),
    }
