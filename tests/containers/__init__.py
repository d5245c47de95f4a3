"""Images that local jobs run in.

A real container of Linux namespaces, without any daemon.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.tiers import lacking, require

FOLDER = Path(__file__).parent
APPLETS = "cat chroot echo env false head id kill ls mkdir printf ps sh sleep sort tail test touch true wc".split()


def require_namespaces() -> None:
    """Skip a test where this user can't make containers."""
    require("busybox")
    require("unshare")
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True).returncode:
        lacking("no user namespaces for this user")


class ImageStore:
    """Unpacked images in a folder, and the runner that a local site uses for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = folder / "lake"
        """A storage area of the site."""

    def add(self, image: str) -> None:
        """Make an image that holds busybox alone, and the libraries that it needs."""
        root = self.folder / re.sub(r"[/:@]", "_", image)
        (root / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, root / "bin" / "busybox")
        for applet in APPLETS:
            os.symlink("busybox", root / "bin" / applet)
        libraries = subprocess.run(["ldd", busybox], capture_output=True, text=True).stdout
        for path in re.findall(r"(/\S+)", libraries):
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (root / "image").write_text(image)

    @property
    def runner(self) -> list[str]:
        """Return the setting of a local site."""
        return ["/bin/sh", str(FOLDER / "run.sh"), str(self.folder), "{IMAGE}"]
