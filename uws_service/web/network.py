"""The page of the network: how sites are, why jobs wait, what failed.

It is for administrators, and for everybody to read if the settings say so; drains are for administrators alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import UsageError
from uws_service.domain.ids import new_id, now_ms
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.web import pages
from uws_service.web.call import account_of, call_of
from uws_service.web.intake import posted
from uws_service.web.replies import NO_STORE, html_reply, see_other
from uws_service.web.resource import Resource


class NetworkPage:
    """Handlers of ``/network``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sites = backend.service.sites
        self.limits = backend.limits.model_copy(update={"body": 65536, "files": 0, "parameters": 10})

    async def show(self, request: Request) -> Response:
        """GET /network: as a page or JSON."""
        call = call_of(request)
        if not self.backend.public_network:
            self.backend.rules.require_administrator(call.identity)
        content = await self._content(is_admin=call.identity.admin)
        if negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html":
            return html_reply(
                network_page(content, call.base, is_admin=call.identity.admin, account=account_of(request))
            )
        return JSONResponse(content, headers=NO_STORE)

    async def _content(self, *, is_admin: bool) -> dict[str, Any]:
        """Return what the page tells; whom a site takes, and groups, are for administrators."""
        sites = await self.sites.all()
        if not is_admin:
            sites = [{name: value for name, value in site.items() if name in PUBLIC_WORDS} for site in sites]
        return {
            "sites": sites,
            "failures": [failure._asdict() for failure in await self.sites.failures()],
            "shares": [share._asdict() for share in await self.sites.shares()] if is_admin else [],
            "problems": await self.backend.problems() if is_admin else [],
            "remarks": self.backend.remarks() if is_admin else [],
            "available": not await self.backend.problems(),
        }

    async def act(self, request: Request) -> Response:
        """POST /network: SITE and ACTION, DRAIN (with a REASON) or UNDRAIN; 303 to the page."""
        call = call_of(request)
        async with posted(request, self.backend.uploads, self.limits, new_id(now_ms())) as form:
            site, action, reason = form.word("SITE") or "", (form.word("ACTION") or "").upper(), form.word("REASON")
        if action == "DRAIN":
            await self.sites.drain(site, reason or "", call.identity.owner or "")
        elif action == "UNDRAIN":
            await self.sites.undrain(site, call.identity.owner or "")
        else:
            raise UsageError(f"ACTION={action[:20]!r} is not possible; possible: DRAIN, UNDRAIN.")
        return see_other(f"{call.base}/network")

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/network": Resource(
            "network",
            Policy.OPEN,
            Policy.ADMINISTER,
            get=(
                show,
                "How sites are, why jobs wait, failures of 24 h: for administrators, and for everybody if "
                "`public_network` is set.",
            ),
            post=(act, "`SITE` and `ACTION=DRAIN` (`REASON`) or `UNDRAIN`; 303 to the page."),
        ),
    }


PUBLIC_WORDS = frozenset({"site", "kind", "reachable", "slots", "waiting", "running", "drained", "putAside"})
"""What everybody may know of a site."""


def network_page(content: Mapping[str, Any], base: str, *, is_admin: bool, account: pages.Account | None = None) -> str:
    """Return the page of the network."""
    sites = [(site, _why(site)) for site in content["sites"]]
    return pages.render("network.html", base, account, "/network", content=content, sites=sites, is_admin=is_admin)


def _why(site: Mapping[str, Any]) -> list[str]:
    """Return why jobs wait at a site, or do not go there."""
    words = []
    if not site["reachable"]:
        words.append("the site does not answer")
    if site["drained"]:
        words.append(f"drained: {site['drained']}")
    if site["putAside"]:
        words.append(str(site["putAside"]))
    if site["waiting"] and site["slots"] is not None and site["running"] >= site["slots"]:
        words.append(f"all {site['slots']} slots are taken")
    return words + [str(words_) for words_ in site.get("contradictions", ())]
