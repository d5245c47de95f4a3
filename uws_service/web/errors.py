"""Errors as the client can read them: VOTable for DALI resources, text, JSON, or a page (DALI 1.1 §4.2, §4.4.2)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.domain.errors import AuthenticationRequired, MethodNotAllowed, UwsError
from uws_service.protocol import dali, negotiation
from uws_service.web import pages
from uws_service.web.call import account_of

VOTABLE = "application/x-votable+xml"


def error_response(error: UwsError, request: Request) -> Response:
    """The error in the form that the client asked for; with challenges if the caller has to log in (A-011)."""
    response = _in_form(error, request)
    gate = request.scope.get("uws.gate")
    if isinstance(error, AuthenticationRequired):
        challenges = ["Bearer"]
        if gate is not None and request.scope.get("uws.route") != "agent":
            challenges = gate.challenges(request.scope, error=error.error, message=error.message)
        for challenge in challenges:
            response.headers.append("www-authenticate", challenge)
    return response


def _is_soda(request: Request) -> bool:
    """Whether SODA's own words are expected: text that begins with a label (S-005)."""
    gate, name = request.scope.get("uws.gate"), request.path_params.get("application")
    if request.scope.get("uws.route") != "sync" or gate is None:
        return False
    application = gate.service.applications.get(name)
    return application is not None and application.protocol == "soda"


def _in_form(error: UwsError, request: Request) -> Response:
    """The error as the client can read it.

    Programs get one line of text, which pyvo and STILTS show to their users as it is; DALI-sync answers with an
    error VOTable (D-045, D-048), as does whoever accepts that type by name.
    """
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    accept = request.headers.get("accept")
    form = negotiation.choose(accept, ("text", "json", "html"))
    if form == "html":
        base = request.scope["uws.call"].base
        account, here = account_of(request), request.scope["path"] if request.method in ("GET", "HEAD") else ""
        page = pages.error_page(error.status, error.title, error.message, error.detail, base, account, here)
        return Response(page, error.status, {**headers, **pages.HEADERS}, "text/html")
    if form == "json":
        body = {"status": error.status, "error": error.title, "message": error.message, "detail": error.detail}
        return JSONResponse(body, error.status, headers)
    if _is_soda(request):
        text = dali.error_text(f"{error.title}: {error.message}", error.detail)
        return Response(text, error.status, headers, "text/plain")
    if request.scope.get("uws.route") == "sync" or (accept and "votable" in accept):
        return Response(dali.error_votable(error.message, error.detail), error.status, headers, VOTABLE)
    return Response(dali.error_text(error.message, error.detail), error.status, headers, "text/plain")
