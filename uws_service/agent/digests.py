"""The digests of files that were fetched: what a job's record says of its inputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

CHUNK_BYTES = 1 << 20


def is_to_be_described(item: Mapping[str, Any]) -> bool:
    """Return whether nobody but the agent can say what an input was: it has a URL, and no catalogue knows it."""
    return bool(item["url"]) and not item.get("mount") and not item.get("urls") and item.get("size") is None


def described(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the place of an input below its folder, with its size in bytes and its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        size = os.fstat(file.fileno()).st_size
    return {"path": item["path"], "size": size, "sha256": digest.hexdigest()}
