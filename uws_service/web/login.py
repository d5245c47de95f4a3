"""Logging in and out, by browser or by token (A-002, A-004).

``GET /login`` tells people and programs how; ``POST /login`` takes a token as password; ``/login/start/{number}`` and
``/login/callback`` are the two ends of the way over an issuer's own pages. Each issuer has a callback of its own, so
that an answer of one can't be taken for another's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.auth.browser_login import begin, finish, require_sender
from uws_service.auth.credentials import checked
from uws_service.auth.keys import IssuerKeys
from uws_service.auth.policy import Policy
from uws_service.auth.settings import CALLBACK
from uws_service.auth.signed_cookies import cookie_value, pack, seal, unpack, unseal
from uws_service.domain.errors import AuthenticationRequired, NotFound, UsageError
from uws_service.protocol import negotiation
from uws_service.service.backend import Backend
from uws_service.service.sessions import COOKIE
from uws_service.web import pages
from uws_service.web.call import Call, call_of
from uws_service.web.cookies import cookie_name, set_cookie
from uws_service.web.forms import FileSink, FormLimits, read_form
from uws_service.web.resource import Resource

STARTED = "uws_login"
START_SECONDS = 600
"""Time that a person has to log in at the issuer."""
NO_STORE = {"cache-control": "no-store"}


class Login:
    """Handlers of ``/login`` and ``/logout``."""

    def __init__(self, backend: Backend) -> None:
        assert backend.user_tokens is not None and backend.sessions is not None
        self.tokens = backend.user_tokens
        self.rules = backend.rules
        self.sessions = backend.sessions
        self.lifetime = backend.auth.session
        self._key = backend.cookie_key
        self.issuers: list[IssuerKeys] = list(self.tokens.issuers.values())
        self.callbacks = backend.auth.callbacks()

    async def show(self, request: Request) -> Response:
        """GET /login: who the caller is, and how to log in.

        As JSON it has what a program needs for that.
        """
        call = call_of(request)
        if _wants_page(request):
            choices = [
                (number, issuer.settings.title or issuer.settings.host)
                for number, issuer in enumerate(self.issuers)
                if issuer.settings.login and issuer.settings.client_id is not None
            ]
            page = pages.login_page(call.base, choices, pages.Account.of(call.identity), _next(request))
            return Response(page, 200, {**NO_STORE, **pages.HEADERS}, "text/html")
        issuers = [
            {
                "issuer": issuer.settings.url,
                "discovery_url": issuer.settings.url.rstrip("/") + "/.well-known/openid-configuration",
                "audience": issuer.settings.audience,
                "resource": issuer.settings.resource,
                "scope": issuer.settings.login_scopes,
                "client_id": issuer.settings.cli_client_id,
            }
            for issuer in self.issuers
        ]
        identity = call.identity
        caller = {"owner": identity.owner, "name": identity.name, "groups": sorted(identity.groups)}
        return JSONResponse({"issuers": issuers, "caller": caller if identity.owner else None}, headers=NO_STORE)

    async def enter(self, request: Request) -> Response:
        """POST /login with ``password=<token>``.

        The answer is 200 with a session for a program, 303 for a browser.
        """
        form = await _form(request)
        token = form.get("password", "")
        if not token:
            raise UsageError("Post username and password here; the password is a token.")
        call = call_of(request)
        identity, ends = await self.tokens.verify(checked(token.strip()), address=call.origin)
        call.identity, call.by = identity, "token"
        until = min(int(ends * 1000), self._latest())
        if _wants_page(request):
            response = Response(status_code=303, headers={"location": call.base + _path(form.get("next")), **NO_STORE})
        else:
            headers = {"x-vo-bearer": token.strip(), **NO_STORE}
            response = Response(f"You are {identity.owner}.\n", 200, headers, "text/plain")
        await self._open(call, response, until)
        return response

    async def start(self, request: Request) -> Response:
        """GET /login/start/{number}: to the issuer's own pages."""
        number = request.path_params["number"]
        issuer = self.issuers[number] if number < len(self.issuers) else None
        if issuer is None or not issuer.settings.login or issuer.settings.client_id is None:
            raise NotFound("There is no such issuer to log in at; /login shows those that there are.")
        call = call_of(request)
        redirect = await begin(issuer, call.base + self.callbacks[issuer.settings.host])
        state = {
            "issuer": issuer.settings.host,
            "state": redirect.state,
            "nonce": redirect.nonce,
            "verifier": redirect.verifier,
            "next": _next(request),
            "until": time.time() + START_SECONDS,
        }
        response = Response(status_code=303, headers={"location": redirect.url, **NO_STORE})
        value = seal(self._key, STARTED, pack(state))
        set_cookie(response, call.base, STARTED, value, START_SECONDS)
        return response

    async def callback(self, request: Request) -> Response:
        """GET /login/callback/…: back from the issuer, with a code.

        Only the browser that began this login may bring it.
        """

        call, query = call_of(request), request.query_params
        sealed = cookie_value(call.cookie, cookie_name(call.base, STARTED)) if call.cookie else None
        value = unseal(self._key, STARTED, sealed) if sealed else None
        state = unpack(value) if value is not None else None
        if state is None or state["until"] < time.time() or query.get("state") != state["state"]:
            raise AuthenticationRequired("This login was not begun by this browser, or too long ago. Log in again.")
        issuer = next((issuer for issuer in self.issuers if issuer.settings.host == state["issuer"]), None)
        path = f"{CALLBACK}/{request.path_params['issuer']}" if "issuer" in request.path_params else CALLBACK
        if issuer is None or self.callbacks.get(issuer.settings.host) != path:
            raise AuthenticationRequired("The answer came to the address of another issuer. Log in again.")
        await require_sender(issuer, query.get("iss"))
        if "code" not in query:
            reason = query.get("error_description") or query.get("error") or "no code"
            raise AuthenticationRequired(f"The issuer did not let you in: {reason[:200]}")
        with self.tokens.counted(call.origin):  # each code makes us ask the issuer, with our own credentials
            identity = await finish(
                self.tokens,
                issuer,
                code=query["code"],
                nonce=state["nonce"],
                verifier=state["verifier"],
                redirect_uri=call.base + path,
                now=time.time(),
            )
        call.identity, call.by = self.rules.ranked(identity), "session"
        response = Response(status_code=303, headers={"location": call.base + _path(state["next"]), **NO_STORE})
        set_cookie(response, call.base, STARTED, "", 0)
        await self._open(call, response, self._latest())
        return response

    async def leave(self, request: Request) -> Response:
        """POST /logout: end the session, and with it its cookies; with EVERYWHERE all sessions of the caller."""
        call, form = call_of(request), await _form(request)
        owner = call.caller.owner
        if form.get("everywhere") and owner is not None:
            await self.sessions.end_all(owner)
        elif call.session is not None:
            await self.sessions.end(call.session)
        if _wants_page(request):
            response = Response(status_code=303, headers={"location": f"{call.base}/", **NO_STORE})
        else:
            response = Response("You are logged out.\n", 200, NO_STORE, "text/plain")
        set_cookie(response, call.base, COOKIE, "", 0)
        return response

    def _latest(self) -> int:
        return int((time.time() + self.lifetime) * 1000)

    async def _open(self, call: Call, response: Response, until: int) -> None:
        """Open a session with a secret of its own.

        A session from before the login is not taken over (session fixation).
        """
        if call.session is not None:
            await self.sessions.end(call.session)
        seconds = max(1, until // 1000 - int(time.time()))
        set_cookie(response, call.base, COOKIE, await self.sessions.open(call.identity, until), seconds)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/login": Resource(
            "login",
            Policy.OPEN,
            get=(show, "Who one is, and how to log in; as JSON the issuers, audiences and clients."),
            post=(
                enter,
                "`username` and `password`, which is a token: a session cookie, and `X-VO-Bearer` for programs.",
            ),
        ),
        "/login/start/{number:int}": Resource("login", Policy.OPEN, get=(start, "To the pages of an issuer.")),
        CALLBACK: Resource("login", Policy.OPEN, get=(callback, "Back from there, from the first issuer.")),
        f"{CALLBACK}/{{issuer}}": Resource(
            "login", Policy.OPEN, get=(callback, "Back from there, from another issuer.")
        ),
        "/logout": Resource(
            "logout",
            Policy.OPEN,
            post=(leave, "End the session; with `EVERYWHERE=1` all sessions of the caller."),
        ),
    }


def _wants_page(request: Request) -> bool:
    return negotiation.choose(request.headers.get("accept"), ("json", "html")) == "html"


def _next(request: Request) -> str:
    return _path(request.query_params.get("next"))


def _path(text: str | None) -> str:
    """Return a path below the root to go on to.

    Whatever could lead elsewhere leads to the root.
    """
    if not text or not text.startswith("/") or text.startswith("//") or not text.isascii() or not text.isprintable():
        return "/"
    return "/" if "\\" in text or text.startswith(("/login", "/logout")) else text[:1000]


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a short form."""

    def no_file(_: int) -> FileSink:
        raise UsageError("No files are taken here.")

    limits = FormLimits(body=65536, fields=20, field_size=32768, files=0, file_size=0, text=65536)
    form = await read_form(request.headers, request.stream(), limits=limits, open_file=no_file)
    return {name.lower(): value for name, value in form.fields}
