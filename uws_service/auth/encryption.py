"""Values that only this service can read: encrypted with AES-GCM (NIST SP 800-38D), bound to what they are for."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


def lock(key: bytes, purpose: str, value: str) -> str:
    """The value as text that nobody can read or change without the key."""
    nonce = os.urandom(_NONCE)
    hidden = AESGCM(_derived(key)).encrypt(nonce, value.encode(), purpose.encode())
    return base64.urlsafe_b64encode(nonce + hidden).decode()


def unlock(key: bytes, purpose: str, locked: str) -> str | None:
    """The value, or None if it was not locked with this key for this purpose."""
    with contextlib.suppress(InvalidTag, ValueError):
        raw = base64.urlsafe_b64decode(locked)
        return AESGCM(_derived(key)).decrypt(raw[:_NONCE], raw[_NONCE:], purpose.encode()).decode()
    return None


def _derived(key: bytes) -> bytes:
    return sha256(b"uws-service data tokens\0" + key).digest()


def key_in(file: Path) -> bytes:
    """The key in a file that only its owner can read; made at the first call, also when two make it at once."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    if not file.exists():
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(handle, secrets.token_hex(32).encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    return file.read_bytes()
