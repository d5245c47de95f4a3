"""From the headers of a request to the token in them (RFC 6750, RFC 7617). Pure."""

from __future__ import annotations

import base64
import binascii
import re

from uws_service.domain.errors import AuthenticationRequired, UsageError

LONGEST = 16 * 1024
"""Characters of a token; issuers with hundreds of groups stay below."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_QUERY = re.compile(rb"(?:^|&)access_token=", re.IGNORECASE)


def invalid(message: str) -> AuthenticationRequired:
    """The refusal of a token that was shown."""
    return AuthenticationRequired(message, error="invalid_token")


def token_of(headers: list[bytes]) -> str:
    """The token that the Authorization header holds; as Basic, it is the password, whatever the user (A-010).

    Raises
    ------
    UsageError
        Several headers.
    AuthenticationRequired
        No token that could be one.
    """
    if len(headers) > 1:
        raise UsageError("The request has several Authorization headers; send one.")
    scheme, _, rest = headers[0].decode("latin-1").strip().partition(" ")
    word = scheme.lower()
    if word == "bearer":
        return checked(rest.strip())
    if word == "basic":
        return checked(password_of(rest.strip()))
    raise AuthenticationRequired(
        f"The authorization scheme {scheme[:32]!r} is not known here; send a token as Bearer, or as password of Basic."
    )


def password_of(value: str) -> str:
    """The password in the value of a Basic header."""
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise invalid("The Basic authorization is not base64 of user:password.") from None
    user, colon, password = pair.partition(":")
    if not colon:
        raise invalid("The Basic authorization holds no password; the password must be a token.")
    return password or user  # curl -u TOKEN: and what some tools do


def checked(token: str) -> str:
    """The token itself, if its form can be that of one."""
    if not token:
        raise invalid("The Authorization header holds no token.")
    if len(token) > LONGEST:
        raise invalid(f"The token has {len(token)} characters; at most {LONGEST} are taken.")
    if not _TOKEN.fullmatch(token):
        raise invalid("The token has characters that no token has.")
    return token


def refuse_in_query(query: bytes) -> None:
    """Refuse a token in the URL: URLs are written into logs, bookmarks and Referer headers."""
    if b"access_token" in query.lower() and _QUERY.search(query):
        raise UsageError("A token in the URL is not taken; send it in the Authorization header.")
