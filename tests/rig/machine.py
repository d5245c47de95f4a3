"""What a machine must have to carry sites.

What a site may be called.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.rig import build, components
from tests.rig.errors import ClusterError, Unable


def check_name(name: str) -> None:
    """Check a site's name.

    It becomes part of the names of its node and its network interface.
    """
    if not (name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 8) or name == "last":
        raise ClusterError(f"{name!r} is no name for a site: up to eight small letters and digits, but not 'last'")


def check() -> None:
    """Check that this machine can carry a site.

    An error that names everything that is missing.
    """
    if os.geteuid() != 0:
        raise Unable("a cluster needs root: it makes namespaces, mounts and control groups")
    build.paths(["containerd", "ctr", "runc", "ip", "tc", "nsenter", "mount", "busybox"])
    for plugin in ("bridge", "host-local", "loopback"):
        if not Path(components.CNI_PLUGINS, plugin).exists():
            raise Unable(f"{components.CNI_PLUGINS}/{plugin} not found; Debian has it in: containernetworking-plugins")
    if not build.built("kubernetes"):
        build.go()


def containerd_version() -> int:
    """Return the first number of containerd's version, which decides the form of its configuration."""
    output = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    return 2 if any(word.lstrip("v").startswith("2.") for word in output.split()) else 1
