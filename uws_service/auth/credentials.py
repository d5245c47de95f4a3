"""The token in a request's headers (RFC 6750, RFC 7617). Pure."""

from __future__ import annotations

import base64
import binascii
import re

from uws_service.domain.errors import AuthenticationRequired, UsageError

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Tokens with hundreds of groups stay below this."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_QUERY = re.compile(rb"(?:^|&)access_token=", re.IGNORECASE)


def invalid(message: str) -> AuthenticationRequired:
    """Return the error for a token that is not valid."""
    return AuthenticationRequired(message, error="invalid_token")


def token_of(headers: list[bytes]) -> str:
    """Return the token in the Authorization header.

    In a Basic header it is the password, whatever the user (A-010).

    Raises
    ------
    UsageError
        Several headers.
    AuthenticationRequired
        No token that could be one.
    """
    if len(headers) > 1:
        raise UsageError("The request has several Authorization headers; send one.")
    scheme, _, credentials = headers[0].decode("latin-1").strip().partition(" ")
    word = scheme.lower()
    if word == "bearer":
        return checked(credentials.strip())
    if word == "basic":
        return checked(password_of(credentials.strip()))
    raise AuthenticationRequired(
        f"The authorization scheme {scheme[:32]!r} is not known here; send a token as Bearer, or as password of Basic."
    )


def password_of(value: str) -> str:
    """Return the password in a Basic header's value."""
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise invalid("The Basic authorization is not base64 of user:password.") from None
    user, colon, password = pair.partition(":")
    if not colon:
        raise invalid("The Basic authorization holds no password; the password must be a token.")
    return password or user  # curl -u TOKEN: and what some tools do


def checked(token: str) -> str:
    """Return the token.

    Raise if it can't be one.
    """
    if not token:
        raise invalid("The Authorization header holds no token.")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise invalid(f"The token has {len(token)} characters; at most {MAX_TOKEN_CHARACTERS} are taken.")
    if not _TOKEN.fullmatch(token):
        raise invalid("The token has characters that no token has.")
    return token


def refuse_in_query(query: bytes) -> None:
    """Refuse a token in the URL.

    URLs are written into logs, bookmarks and Referer headers.
    """
    if b"access_token" in query.lower() and _QUERY.search(query):
        raise UsageError("A token in the URL is not taken; send it in the Authorization header.")
