"""Cookies that the service sets."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

SHARE_COOKIE = "uws_share"


def cookie_name(base: str, name: str, *, below: bool = False) -> str:
    """Return the name of a cookie, with the prefix that other hosts of the domain can't set (RFC 6265bis §4.1.3).

    ``__Host-`` is for cookies of a whole host, so a service below a path and a cookie ``below`` one get ``__Secure-``.
    """
    if not base.startswith("https://"):
        return name
    return f"__Secure-{name}" if below or base.count("/") > 2 else f"__Host-{name}"


def set_cookie(response: Response, base: str, name: str, value: str, seconds: int, *, below: str = "") -> None:
    """Set a cookie that scripts can't read.

    Forms of other sites do not send it; 0 seconds remove it.
    """
    parts = urlsplit(base)
    response.set_cookie(
        cookie_name(base, name, below=bool(below)),
        value,
        max_age=seconds,
        path=(parts.path.rstrip("/") + below) or "/",
        secure=parts.scheme == "https",
        httponly=True,
        samesite="lax",
    )
