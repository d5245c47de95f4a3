"""Cookies that the service sets."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

SHARE_COOKIE = "uws_share"


def set_cookie(response: Response, base: str, name: str, value: str, seconds: int, *, below: str = "") -> None:
    """Set a cookie that scripts can't read.

    Forms of other sites do not send it; 0 seconds remove it.
    """
    parts = urlsplit(base)
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=(parts.path.rstrip("/") + below) or "/",
        secure=parts.scheme == "https",
        httponly=True,
        samesite="lax",
    )
