"""Texts without their secrets, for documents that are meant to be passed on (P-011).

A record of a job is published with a paper. What opens a door must not be in it: users, passwords and queries of URLs
(a presigned URL is one with its signature in the query), tokens, and parameters that a descriptor calls secret. It is
better to leave out too much: the job itself still has every parameter.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

SECRET_NAME = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|credential|signature|authorization|bearer|cookie|private_?key|api_?key"
    r"|access_?key)(_?id)?$"
)
"""What a parameter is called that is secret although nobody says so."""
LEFT_OUT = "(left out)"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s<>\"'`]*")
_WHOLE = re.compile(r"\s*(?i:https?|ftp|davs?|s3|gs)://")
"""A text that is one URL, also one with characters that none should have."""
_ASSIGNED = re.compile(
    r"(?i)(\b(?:x-(?:amz|goog)-[a-z-]+|sig(?:nature)?|(?:[a-z_-]*_)?(?:token|password|secret|api_?key))=)[^\s&;,'\"]+"
)
_TOKEN = re.compile(
    r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"  # a JSON web token
    r"|(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
)


def bare_url(url: str) -> str:
    """Return a URL without user, password, query and fragment.

    A query of an IVOID is part of the name (IVOA Identifiers 2.0 §2), and nothing is fetched by it. Of a URL that
    can't be read nothing is left.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return LEFT_OUT
    if parts.scheme.lower() == "ivo":
        return url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redacted(text: str) -> str:
    """Return a text with its URLs bare and its tokens left out."""
    if "://" in text:
        text = bare_url(text) if _WHOLE.match(text) else _URL.sub(lambda match: bare_url(match[0]), text)
    return _TOKEN.sub(LEFT_OUT, _ASSIGNED.sub(rf"\1{LEFT_OUT}", text))


def redacted_upload(value: str) -> str:
    """Return a value of DALI's UPLOAD with its URLs bare."""
    pairs = [pair.partition(",") for pair in value.split(";")]
    return ";".join(f"{redacted(name)}{comma}{redacted(uri)}" for name, comma, uri in pairs)


def is_secret_name(name: str) -> bool:
    """Return whether a parameter of that name is taken for a secret."""
    return SECRET_NAME.search(name) is not None
