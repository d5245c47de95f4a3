"""Values that a browser keeps for us and must not change: signed with a key of the service (HMAC-SHA256). Pure."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any


def seal(key: bytes, purpose: str, value: str) -> str:
    """The value with its signature; one made for another purpose is no good."""
    return f"{value}.{_mark(key, purpose, value)}"


def unseal(key: bytes, purpose: str, sealed: str) -> str | None:
    """The value, or None if this key did not sign it for this purpose."""
    value, _, mark = sealed.rpartition(".")
    if not value or not hmac.compare_digest(_mark(key, purpose, value).encode(), mark.encode("utf-8", "replace")):
        return None
    return value


def _mark(key: bytes, purpose: str, value: str) -> str:
    return _text(hmac.new(key, f"{purpose}\0{value}".encode(), sha256).digest())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def pack(value: Mapping[str, Any]) -> str:
    """A mapping as text that can stand in a cookie."""
    return _text(json.dumps(value, separators=(",", ":")).encode())


def unpack(text: str) -> dict[str, Any]:
    """The mapping again; only for what `unseal` has let through."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def cookie_value(header: bytes, name: str) -> str | None:
    """A cookie's value in a Cookie header; what other programs on this host put beside it does not matter."""
    wanted = name.encode() + b"="
    for part in header.split(b";"):
        part = part.strip()
        if part.startswith(wanted):
            return part[len(wanted) :].strip(b'"').decode("latin-1")
    return None
