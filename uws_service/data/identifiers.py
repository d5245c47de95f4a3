"""Identifiers of data: ``scope:name`` of Rucio, ``ivo://…?…`` and URLs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from uws_service.domain.errors import UsageError

SCOPE_CHARACTERS = 25
NAME_CHARACTERS = 250
URI_CHARACTERS = 2000
FORMS = "scope:name, ivo://authority/path?key or an http(s) URL"

_SCOPE = re.compile(r"[A-Za-z0-9_.-]+")
_NAME = re.compile(r"[/A-Za-z0-9][/A-Za-z0-9._-]*")
_IVOID = re.compile(r"(?i:ivo)://[A-Za-z0-9][A-Za-z0-9._~-]{2,}(/[^\s?#<>\"\\^`{|}\x00-\x20\x7f]*)?(\?[^\s#]*)?(#\S*)?")
_FILE_NAME = re.compile(r"[^A-Za-z0-9._+=@,-]")


class Form(StrEnum):
    """The form of an identifier."""

    DID = "did"
    IVOID = "ivoid"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A data identifier."""

    form: Form
    text: str
    scope: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.text


class Did(NamedTuple):
    """Scope and name, as Rucio calls them."""

    scope: str
    name: str


def parse_identifier(text: str, place: str = "") -> Identifier:
    """Return an identifier.

    Raise `UsageError` if it is none.

    Parameters
    ----------
    place
        What the message begins with, such as the parameter's name.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise UsageError(
            f"{place}={text[:80]!r} is not allowed: {error}." if place else f"{text[:80]!r}: {error}."
        ) from None


def _parse(text: str) -> Identifier:
    lowered = text[:8].lower()
    if lowered.startswith("ivo://"):
        return _ivoid(text)
    if lowered.startswith(("http://", "https://")):
        return _url(text)
    if "://" in text:
        raise ValueError(f"URLs of the scheme {text.partition(':')[0][:20]!r} are not taken; it must be {FORMS}")
    scope, colon, name = text.partition(":")
    if not colon:
        raise ValueError(f"it must be {FORMS}")
    did = parse_did(scope, name)
    return Identifier(Form.DID, text, did.scope, did.name)


def parse_did(scope: str, name: str) -> Did:
    """Return scope and name by Rucio's rules.

    Raises
    ------
    ValueError
        A part is empty, too long or has other characters; the message says which.
    """
    if not scope or len(scope) > SCOPE_CHARACTERS or not _SCOPE.fullmatch(scope):
        raise ValueError(f"a scope has 1 to {SCOPE_CHARACTERS} letters, digits, '_', '.' and '-'")
    if not name or len(name) > NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise ValueError(
            f"a name has 1 to {NAME_CHARACTERS} letters, digits, '/', '.', '_' and '-', and begins with none of the "
            "last three"
        )
    if any(part in (".", "..") for part in name.split("/")) or not name.strip("/"):
        raise ValueError("no part of a name between slashes is '.' or '..'")
    return Did(scope, name)


def _ivoid(text: str) -> Identifier:
    """Return an IVOID (IVOA Identifiers 2.0 §2)."""
    if len(text) > URI_CHARACTERS or not _IVOID.fullmatch(text):
        raise ValueError(
            f"an IVOID is ivo://authority/path?key with at most {URI_CHARACTERS} characters and no spaces; the "
            "authority has 3 letters, digits, '.', '_', '~' and '-' or more"
        )
    return Identifier(Form.IVOID, text)


def _url(text: str) -> Identifier:
    if len(text) > URI_CHARACTERS:
        raise ValueError(f"a URL has at most {URI_CHARACTERS} characters")
    if any(character <= " " or character == "\x7f" for character in text):
        raise ValueError("a URL has no spaces and control characters")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 -- raises for a port that is none
    except ValueError as error:
        raise ValueError(f"the URL can't be read: {error}") from None
    if not parts.hostname:
        raise ValueError("the URL has no host")
    if parts.username is not None:
        raise ValueError("a URL must have no user and password: everybody who sees the job would see them")
    return Identifier(Form.URL, text)


def file_name(text: str) -> str:
    """Return a file name for a path or URL.

    It is never empty, has no slash, does not begin with a dot, and has at most 200 characters.
    """
    last = unquote(urlsplit(text).path if "://" in text else text).rstrip("/").rpartition("/")[2]
    name = _FILE_NAME.sub("_", last)[:200].lstrip(".")
    return name or "data"
