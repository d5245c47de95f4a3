"""A site's containerd.

Which images it has, and how it gets them.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.rig import archives
from tests.rig.errors import ClusterError
from tests.rig.inside import Inside


class Containerd:
    """The container runtime of a site."""

    def __init__(self, namespaces: Inside) -> None:
        self._namespaces = namespaces

    def ready(self) -> bool:
        """Return whether it answers."""
        return self._ctr("version", check=False).returncode == 0

    def import_image(self, path: Path) -> None:
        """Make the images of an archive (docker save or OCI) known; of an OCI archive only what is new is sent."""
        listed = self._ctr("content", "list", "--quiet").stdout.split()
        present = {digest.removeprefix("sha256:") for digest in listed}
        with tempfile.NamedTemporaryFile(dir=self._namespaces.layout.folder / "run") as thin:
            archives.write_thin(path, present, thin)
            thin.flush()
            self._ctr("images", "import", thin.name)

    def images(self) -> list[str]:
        """Return the names of the images that it has."""
        listed = self._ctr("images", "list", "--quiet").stdout.split()
        return sorted(name for name in listed if not name.startswith("sha256:"))

    def _ctr(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        # Without a server ctr waits for ever, hence its own limit.
        socket = str(self._namespaces.layout.containerd_socket)
        command = ["ctr", "--address", socket, "--connect-timeout", "2s", "-n", "k8s.io", *arguments]
        # Unpacking mounts, which is to be among the site's own mounts.
        entering = self._namespaces.entering("mount", "net", "pid")
        try:
            completed = subprocess.run([*entering, *command], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"ctr {' '.join(arguments)}: no answer in {timeout:g} s") from error
        if check and completed.returncode != 0:
            raise ClusterError(f"ctr {' '.join(arguments)}: {completed.stderr.strip()}")
        return completed
