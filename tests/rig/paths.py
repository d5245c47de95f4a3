"""Where things lie.

Built programs in a cache, each site in a folder of its own, both outside the checkout.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tests.rig.errors import ClusterError

RIG_FOLDER = Path(__file__).resolve().parent
CHECKOUT = RIG_FOLDER.parent.parent

# A site sees empty folders in their place (see site.py), so its own can't lie there.
HIDDEN = (Path("/run"), Path("/var/run"), Path("/var/lib"), Path("/var/log"))


def cache_folder() -> Path:
    """Return what is built once and kept.

    Programs and images.
    """
    folder = os.environ.get("UWS_CLUSTER_CACHE")
    return Path(folder).absolute() if folder else Path.home() / ".cache" / "uws-service" / "cluster"


def state_folder() -> Path:
    """Return the running sites.

    A short path, because sockets lie below it and their paths are limited to 107 bytes.
    """
    folder = Path(os.environ.get("UWS_CLUSTER_STATE") or "/var/tmp/uws-cluster").absolute()
    if any(folder.is_relative_to(hidden) for hidden in HIDDEN):
        raise ClusterError(
            f"UWS_CLUSTER_STATE is {folder}: it can't lie in {', '.join(map(str, HIDDEN))}, which a site does not see"
        )
    if len(str(folder)) > 60:
        raise ClusterError(f"UWS_CLUSTER_STATE is {folder}: at most 60 characters, since paths of sockets are limited")
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file.

    One process at a time; the lock goes with the process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
