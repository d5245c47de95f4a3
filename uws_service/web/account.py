"""What a caller has here: ``/account``, as a page and as JSON (no part of UWS)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.protocol import negotiation
from uws_service.protocol.uws import format_instant
from uws_service.service.backend import Backend
from uws_service.web.account_page import Possessions, account_page
from uws_service.web.call import account_of, call_of
from uws_service.web.replies import NO_STORE, html_reply
from uws_service.web.resource import Resource


class AccountResource:
    """Handler of ``/account``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.rules = backend.rules

    async def show(self, request: Request) -> Response:
        """GET /account: jobs by phase, quotas, shares."""
        call = call_of(request)
        holding = await self.service.views.holding(call.caller.owner)
        shares = await self.service.shares.of_owner(call.caller)
        quota = self.rules.quota(call.identity)
        possessions = Possessions(holding, quota, shares)
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            return html_reply(account_page(call.identity, possessions, call.base, account_of(request)))
        document = {
            "owner": call.identity.owner,
            "name": call.identity.name,
            "groups": sorted(call.identity.groups),
            "jobs": {phase: {"number": number, "size": size} for phase, (number, size) in holding.items()},
            "quota": quota.model_dump(),
            "shares": [
                {
                    "job": f"{call.base}/{application}/async/{share.job_id}",
                    "id": share.id,
                    "runId": run_id,
                    "group": share.group,
                    "expires": format_instant(share.expires),
                }
                for share, application, run_id in shares
            ],
        }
        return JSONResponse(document, headers=NO_STORE)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/account": Resource(
            "account",
            Policy.OWN,
            get=(show, "What the caller has: numbers and bytes of jobs by phase, quotas, shares; a page, or JSON."),
        ),
    }
