"""Images for the nodes of batch systems.

Folders in the tree, since the stand-in for apptainer runs those.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import time
from pathlib import Path

from tests.batch import tree
from tests.rig import images, python_image
from tests.rig.archives import Layer
from tests.rig.paths import locked

KEPT_SECONDS = 86400
"""Other checkouts may still use a younger image."""
TINY = "/opt/images/tiny"
"""A shell and a few tools."""


def service_image() -> str:
    """Return the path on the nodes of an image with this checkout and all that its applications need."""
    *lower, code = python_image.service_layers(images.shell())
    with locked(tree.folder().parent / "batch-images.lock"):
        base = _folder("base", lower)
        target = _folder("service", [code], base)
        (target / ".path").write_text("/opt/uws/bin:/usr/bin:/bin\n")
    return f"/opt/images/{target.name}"


def _folder(name: str, layers: list[Layer], base: Path | None = None) -> Path:
    """Return the folder with the content of layers, on top of another one whose files it shares."""
    words = " ".join([base.name if base is not None else "", *(layer.digest for layer in layers)])
    target = tree.folder() / "opt" / "images" / f"{name}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
    if not (target / ".complete").exists():
        for older in target.parent.glob(f"{name}-*"):
            if time.time() - older.stat().st_ctime > KEPT_SECONDS:
                shutil.rmtree(older, ignore_errors=True)
        if base is not None:
            shutil.copytree(base, target, symlinks=True, copy_function=os.link)
            (target / ".complete").unlink()
        for layer in layers:
            with tarfile.open(layer.path) as archive:
                archive.extractall(target, filter="tar")
        for path in ("var/tmp", "home", "root"):
            (target / path).mkdir(parents=True, exist_ok=True)
        (target / ".complete").touch()
    return target
