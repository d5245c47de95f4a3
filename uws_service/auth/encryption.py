"""Encryption of stored values with AES-GCM (NIST SP 800-38D).

A value is bound to its purpose: what was encrypted for another one can't be read.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path

_NONCE_BYTES = 12


def lock(key: bytes, purpose: str, value: str) -> str:
    """Encrypt a value to text."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # only where jobs have tokens

    nonce = os.urandom(_NONCE_BYTES)
    hidden = AESGCM(_derived(key)).encrypt(nonce, value.encode(), purpose.encode())
    return base64.urlsafe_b64encode(nonce + hidden).decode()


def unlock(key: bytes, purpose: str, locked: str) -> str | None:
    """Decrypt a value.

    None if key or purpose is another.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    with contextlib.suppress(InvalidTag, ValueError):
        raw = base64.urlsafe_b64decode(locked)
        return AESGCM(_derived(key)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode()).decode()
    return None


def _derived(key: bytes) -> bytes:
    return sha256(b"uws-service data tokens\0" + key).digest()


def key_in(file: Path) -> bytes:
    """Return the key in a file, made at the first call.

    Only the file's owner can read it. Two processes that make it at once get the same one.
    """
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
