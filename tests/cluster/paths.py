"""Where things lie: built programs and images in a cache, the state of running sites in a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("UWS_CLUSTER_CACHE") or Path.home() / ".cache" / "uws-service" / "cluster")
# Short, since the paths of sockets may have at most 107 characters.
STATE = Path(os.environ.get("UWS_CLUSTER_STATE") or "/var/tmp/uwsk")
