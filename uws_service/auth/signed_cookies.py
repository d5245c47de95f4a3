"""Cookies signed with a key of the service (HMAC-SHA256). Pure."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any


def seal(key: bytes, purpose: str, value: str) -> str:
    """Sign a value for a purpose."""
    return f"{value}.{_mark(key, purpose, value)}"


def unseal(key: bytes, purpose: str, sealed: str) -> str | None:
    """Return a signed value.

    None if key or purpose is another.
    """
    value, _, mark = sealed.rpartition(".")
    if not value or not hmac.compare_digest(_mark(key, purpose, value).encode(), mark.encode("utf-8", "replace")):
        return None
    return value


def _mark(key: bytes, purpose: str, value: str) -> str:
    return _text(hmac.new(key, f"{purpose}\0{value}".encode(), sha256).digest())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def pack(value: Mapping[str, Any]) -> str:
    """Return a mapping as text for a cookie."""
    return _text(json.dumps(value, separators=(",", ":")).encode())


def unpack(text: str) -> dict[str, Any]:
    """Return the mapping in text that `unseal` returned."""
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return content


def cookie_value(header: bytes, name: str) -> str | None:
    """Return a cookie's value in a Cookie header.

    Cookies that other programs on this host set may be malformed.
    """
    prefix = name.encode() + b"="
    for part in header.split(b";"):
        part = part.strip()
        if part.startswith(prefix):
            return part[len(prefix) :].strip(b'"').decode("latin-1")
    return None
