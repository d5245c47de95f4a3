"""The keys with which runners show who they are.

A key is 256 random bits. The service has only its digest, so whoever reads the settings can't be a runner.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "uws-runner-"
"""Keys begin with it, so that they can be found where they should not be."""


def new_key() -> str:
    """Return a new key."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """Return a key's digest as it stands in the settings."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def is_key(token: str, digests: Iterable[str]) -> bool:
    """Return whether a token is one of the keys; it takes as long whichever it is."""
    shown = digest_of(token)
    matches = [hmac.compare_digest(shown, digest) for digest in digests]
    return any(matches)
