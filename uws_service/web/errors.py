"""Errors in the forms that clients read.

VOTable for DALI resources, text, JSON, or a page (DALI 1.1 §4.2, §4.4.2).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from uws_service.domain.errors import AuthenticationRequired, MethodNotAllowed, UwsError
from uws_service.protocol import dali, negotiation
from uws_service.web import pages
from uws_service.web.call import Call, account_of, call_of
from uws_service.web.faces.base import VOTABLE


def error_response(error: UwsError, request: Request) -> Response:
    """Return an error in the form that the client accepts.

    It has challenges if the caller has to log in (A-011).
    """
    call = call_of(request)
    response = _in_form(error, request, call)
    if isinstance(error, AuthenticationRequired):
        challenges = ["Bearer"]
        if call.gate is not None and not (call.resource is not None and call.resource.is_for_agents):
            challenges = call.gate.challenges(request.scope, error=error.error, message=error.message)
        for challenge in challenges:
            response.headers.append("www-authenticate", challenge)
    return response


def _page_path(request: Request, call: Call) -> str:
    """Return the path of the page that somebody is at, where a login leads back to.

    A form that was sent is on the page that the browser names, which it does for pages of ours alone.
    """
    if request.method in ("GET", "HEAD"):
        return str(request.scope["path"])
    page = request.headers.get("referer", "").partition("?")[0]
    return page.removeprefix(call.base) if page.startswith(f"{call.base}/") else ""


def _in_form(error: UwsError, request: Request, call: Call) -> Response:
    """Return an error in a form that the client reads.

    Programs get one line of text, which pyvo and STILTS show to their users as it is; a resource may have a form of
    its own, and whoever accepts VOTable by name gets an error VOTable (D-045, D-048).
    """
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    accept = request.headers.get("accept")
    if call.resource is not None and call.resource.own_errors and call.resource.error_form is not None:
        body = call.resource.error_form(error, request)
        return Response(body.content, body.status or error.status, headers, body.media_type)
    form = negotiation.choose(accept, ("text", "json", "html"))
    if form == "html":
        account, path = account_of(request), _page_path(request, call)
        page = pages.error_page(error.status, error.title, error.message, error.detail, call.base, account, path)
        return Response(page, error.status, {**headers, **pages.HEADERS}, "text/html")
    if form == "json":
        document = {"status": error.status, "error": error.title, "message": error.message, "detail": error.detail}
        return JSONResponse(document, error.status, headers)
    if call.resource is not None and call.resource.error_form is not None:
        body = call.resource.error_form(error, request)
        return Response(body.content, body.status or error.status, headers, body.media_type)
    if accept and "votable" in accept:
        return Response(dali.error_votable(error.message, error.detail), error.status, headers, VOTABLE)
    return Response(dali.error_text(error.message, error.detail), error.status, headers, "text/plain")
