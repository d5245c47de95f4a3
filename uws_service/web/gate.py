"""The gate before every resource: who calls, and may they.

What is cheap comes first. A request without credentials, and one with a token that was verified a moment ago, wait
for nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from starlette.types import Scope

from uws_service.auth import ANONYMOUS, Identity
from uws_service.auth.credentials import refuse_in_query, token_of
from uws_service.auth.identity import is_global
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Policy
from uws_service.auth.quotas import Rates, party_of
from uws_service.auth.signed_cookies import cookie_value
from uws_service.domain.errors import Forbidden
from uws_service.protocol import negotiation
from uws_service.protocol.challenges import challenges
from uws_service.service.backend import Backend
from uws_service.service.sessions import COOKIE
from uws_service.web.call import Call
from uws_service.web.cookies import SHARE_COOKIE, cookie_name
from uws_service.web.pages import Account
from uws_service.web.resource import SAFE_VERBS, Resource

_SECRET = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The form of a link's secret; nothing else is looked up, or put into a cookie."""
_OWN_CREDENTIALS = frozenset({Policy.PROBE, Policy.AGENT, Policy.RUNNER})
"""Policies of resources that ask for nothing, or look at credentials that are no caller's."""
UNKNOWN = Identity(challenged=True)
"""An anonymous caller who could log in."""


class Gate:
    """Admits callers by the rules of the settings."""

    def __init__(self, backend: Backend) -> None:
        self.rules = backend.rules
        self.service = backend.service
        self.tokens = backend.user_tokens
        self.verifies_tokens = self.tokens is not None
        self.sessions = backend.sessions
        self.permissions = backend.permissions
        reads = backend.auth.permissions is not None and backend.auth.permissions.reads
        self.asked_policies = frozenset(
            {Policy.USE, Policy.WRITE, *((Policy.READ, Policy.LIST, Policy.OWN) if reads else ())}
        )
        self.audits = self.rules.has_issuers
        self.realm = backend.auth.realm
        self.origins = frozenset(backend.cors_origins)
        self.rates = Rates() if self.rules.has_rates else None
        self.idle = self.tokens is None and self.rates is None and self.permissions is None
        self.discovery = [
            issuer.url.rstrip("/") + "/.well-known/openid-configuration" for issuer in backend.auth.issuers
        ]

    async def admit(self, scope: Scope, policy: Policy) -> None:
        """Raise unless the caller may use the resource so.

        READ is decided where the job is read; WRITE here, before a body is read, and there once more.
        """
        if policy in _OWN_CREDENTIALS:
            return
        call: Call = scope["uws.call"]
        resource = call.resource
        assert resource is not None, "the gate is asked by a resource"
        if self.tokens is not None:
            await self._identify(scope, call)
        if scope["method"] not in SAFE_VERBS or (policy is Policy.USE and (call.session or resource.get_runs)):
            self._refuse_foreign_page(scope, call)
        if self.rates is not None:
            self._count(call)
        if resource.locate is not None:
            scope["path_params"] = await resource.locate(call.caller, scope["path_params"])
        path = scope["path_params"]
        if policy is Policy.READ:
            _take_share(scope, call)
        elif policy is Policy.WRITE:
            await self.service.glance(path["application"], path["job_id"], call.caller, write=True)
        elif policy is Policy.USE:
            self.rules.require_use(self.service.application(path["application"]), call.identity)
        elif policy is Policy.LIST:
            self.rules.require_list(self.service.application(path["application"]), call.identity)
        elif policy is Policy.ACCOUNT:
            self.rules.require_account(call.identity)
        elif policy is Policy.OWN:
            self.rules.require_owner(call.identity)
        elif policy is Policy.OPERATE:
            self.rules.require_operator(call.identity, call.origin or None, direct=call.direct)
        elif policy is Policy.ADMINISTER:
            self.rules.require_administrator(call.identity)
        asked = policy in self.asked_policies or (policy is Policy.OWN and scope["method"] not in SAFE_VERBS)
        if self.permissions is not None and asked and call.identity.owner is not None:
            await self._ask(self.permissions, scope, call, resource, policy)

    async def require_also(
        self, scope: Scope, policy: Policy, path: str, method: str, parameters: Mapping[str, str]
    ) -> None:
        """Raise unless the Permissions API allows what a request does beside the resource in its path.

        What the service itself decides is decided where the job is read or made.

        Parameters
        ----------
        path, method
            The template and the verb of the resource that does the same.
        """
        call: Call = scope["uws.call"]
        if self.permissions is None or policy not in self.asked_policies or call.identity.owner is None:
            return
        await self.permissions.require(_required_token(call), path, method, dict(parameters))

    async def _ask(
        self, permissions: PermissionsApi, scope: Scope, call: Call, resource: Resource, policy: Policy
    ) -> None:
        """Ask the Permissions API about an admitted request."""
        path = scope["path_params"]
        if policy is Policy.READ:
            await self.service.glance(path["application"], path["job_id"], call.caller)
        token = _required_token(call)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        parameters = {name: str(value) for name, value in path.items()}
        await permissions.require(token, resource.path, method, parameters)

    async def _identify(self, scope: Scope, call: Call) -> None:
        """Identify the caller by the request's credentials.

        What a trusted proxy said holds if there are none.
        """
        assert self.tokens is not None
        if scope["query_string"]:
            refuse_in_query(scope["query_string"])
        if call.authorization is not None:
            call.by = "token"
            cached = self.tokens.cached_header(call.authorization[0]) if len(call.authorization) == 1 else None
            if cached is not None:
                call.identity, call.token = cached
                return
            token = token_of(call.authorization)
            call.identity = await self.tokens.identify(call.authorization[0], token, address=call.origin)
            call.token = token
            return
        session = None
        if call.cookie is not None and self.sessions:
            session = await self.sessions.find(call.cookie, cookie_name(call.base, COOKIE))
        if session is not None:
            call.identity, call.session, call.by = self.rules.ranked(session[0]), session[1], "session"
        elif call.identity is ANONYMOUS:
            call.identity = UNKNOWN

    def _count(self, call: Call) -> None:
        assert self.rates is not None
        quota = self.rules.quota(call.identity)
        if quota.rate is not None:
            self.rates.take(party_of(call.identity, call.origin), quota.rate, time.monotonic())

    def _refuse_foreign_page(self, scope: Scope, call: Call) -> None:
        """Refuse requests of other sites' pages (CSRF).

        A page can make a browser send forms without CORS.

        Browsers say where a request comes from in headers that pages can't set; programs send neither of them. This
        guards jobs of people who are not logged in too. Besides, session cookies are SameSite=Lax.

        A GET of /sync runs something too: for callers whom a cookie, a proxy or their address lets in, a link
        elsewhere that they follow themselves is all right, a page that sends them there without being asked is not.
        """
        credentials = call.session is not None or (not call.by and call.identity.owner is not None)
        near = not call.by and not is_global(call.origin)
        safe = scope["method"] in SAFE_VERBS
        if safe and not credentials and not near:
            return
        origin = site = None
        followed = False
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-user":
                followed = safe and value == b"?1"
        if followed or site in (b"same-origin", b"none") or (site is None and origin is None):
            return
        if origin is not None:
            if not credentials and (origin in self.origins or ("*" in self.origins and not near)):
                return
            own_url = urlsplit(call.base)
            if site is None and origin == f"{own_url.scheme}://{own_url.netloc}":
                return
        raise Forbidden(
            "The request was made by a page of another site. Use the service's own pages, or a token; "
            "`cors_origins` in its settings names other sites that may use it."
        )

    def account(self, scope: Scope) -> Account | None:
        """Return the account of a page's reader.

        None: nobody can log in here.
        """
        call: Call = scope["uws.call"]
        return Account.of(call.identity) if self.tokens is not None else None

    def challenges(self, scope: Scope, *, error: str = "", message: str = "") -> list[str]:
        """Return values for WWW-Authenticate headers.

        A browser gets no Basic, neither for a page nor for a request of a script: it would ask for a password by
        itself.
        """
        call: Call = scope["uws.call"]
        headers = dict(scope["headers"])
        accept = headers[b"accept"].decode("latin-1") if b"accept" in headers else None
        basic = negotiation.choose(accept, ("text", "html")) != "html" and b"sec-fetch-mode" not in headers
        url = f"{call.base}/login"
        return challenges(self.realm, url, self.discovery, error=error, message=message, basic=basic)


def _required_token(call: Call) -> str:
    """Return the token that the Permissions API is asked with."""
    if call.token is None:
        raise Forbidden("The Permissions API decides by token; send one in the Authorization header.")
    return call.token


def _take_share(scope: Scope, call: Call) -> None:
    """Take a link's secret from the query or its cookie."""
    query: bytes = scope["query_string"]
    if b"share=" in query.lower():
        secrets = [value for name, value in parse_qsl(query.decode("latin-1")) if name.upper() == "SHARE"]
        call.share = secrets[0] if secrets and _SECRET.fullmatch(secrets[0]) else ""
    elif call.cookie is not None and b"uws_share" in call.cookie:
        call.share = cookie_value(call.cookie, cookie_name(call.base, SHARE_COOKIE, below=True)) or ""
    if call.share:
        call.identity = replace(call.identity, share=call.share)
