"""Fetching files that a query's UPLOAD names by URL.

Each is fetched by a short-lived process of its own: it can be ended at a deadline, whatever the server does, and a slow
server holds no query process.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from uws_service.agent.fetch import FetchError, Policy, fetch
from uws_service.domain.errors import ServiceUnavailable, StorageFull, UsageError
from uws_service.subprocesses import kill
from uws_service.tap.shares import FairPlaces

MAX_FETCHES = 8
"""Fetches of one process of the service."""
ENVIRONMENT = frozenset({"PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"})
FULL = 28
"""Exit code for a disk without room: it is not the fault of who named the file."""
_places = FairPlaces(MAX_FETCHES, limit=MAX_FETCHES // 2)


async def fetch_upload(
    name: str, url: str, path: Path, *, max_size: int, policy: dict[str, Any], seconds: float, caller: str
) -> None:
    """Fetch a file.

    `UsageError` if that fails or takes too long.

    ``caller`` has half of the places at most: slow servers of one caller do not hold up others.
    """
    task = {"url": url, "path": str(path), "max_size": max_size, "policy": policy}
    try:
        async with asyncio.timeout(seconds), _places.place(caller, seconds):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name in ENVIRONMENT},
            )
            try:
                answer, _ = await process.communicate(json.dumps(task).encode())
            finally:
                if process.returncode is None:
                    kill(process)
                    await asyncio.shield(process.wait())
    except TimeoutError:
        raise UsageError(f"UPLOAD {name}: the file did not come within {seconds:.0f} s.") from None
    if process.returncode == FULL:
        raise StorageFull("The disk for uploads to queries is full.", retry_after=60)
    if process.returncode:
        raise ServiceUnavailable("The file of an UPLOAD could not be fetched; the service's log says why.")
    if answer:
        raise UsageError(f"UPLOAD {name}: {answer.decode('utf-8', 'replace')}")


def main() -> None:
    """Fetch what standard input describes.

    Print an error, if any.
    """
    task = json.load(sys.stdin)
    policy = task["policy"]
    allowed = Policy(policy["allow_private"], tuple(policy["allow_hosts"]), timeout=policy["timeout"])
    try:
        fetch(task["url"], Path(task["path"]), max_size=task["max_size"], policy=allowed)
    except FetchError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(FULL)
        print(error, end="")


if __name__ == "__main__":
    main()
