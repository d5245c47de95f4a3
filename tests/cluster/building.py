"""The programs of a test cluster, built from Go modules into the cache; each only when it is asked for.

What was built is found again by the digest of what it was built from, so a second call costs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.paths import CACHE, HERE

KUBERNETES = "v1.36.3"
INSTALLED = {
    "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.8.0",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
"""Programs that one call of ``go install`` makes."""
TOOLS = ("kubernetes", *INSTALLED, "kueue")
_VERSION = "k8s.io/component-base/version"
_FLAGS = ("-trimpath", "-ldflags")


class CannotBuild(RuntimeError):
    """Go is missing, or a build failed; the text says which and where its log is."""


def built(tool: str) -> Path:
    """The path of a program; it is built first if it is not in the cache.

    Raises
    ------
    CannotBuild
        With the end of the build's output.
    """
    folder = CACHE / f"{tool}-{_digest(tool)}"
    program = folder / tool
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise CannotBuild(f"Go is not installed; it is needed to build {tool}.")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{tool}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builders at once: the second one finds it done
        if not program.exists():
            _build(go, tool, folder)
    return program


def _digest(tool: str) -> str:
    digest = hashlib.sha256()
    if tool in INSTALLED:
        digest.update(INSTALLED[tool].encode())
    else:
        where = HERE if tool == "kubernetes" else HERE / tool
        for name in ("main.go", "go.mod", "go.sum"):
            if (where / name).exists():
                digest.update((where / name).read_bytes())
    return digest.hexdigest()[:16]


def _build(go: str, tool: str, folder: Path) -> None:
    began = time.monotonic()
    print(f"building {tool} (once; a few minutes) …", file=sys.stderr, flush=True)
    draft = CACHE / f".{tool}.{os.getpid()}"
    draft.mkdir(exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0"}
    strip = "-s -w"
    command: Sequence[str]
    if tool in INSTALLED:
        command = [go, "install", *_FLAGS, strip, INSTALLED[tool]]
        environment["GOBIN"] = str(draft)
        where = HERE
    elif tool == "kubernetes":
        major, minor, _ = KUBERNETES.lstrip("v").split(".")
        named = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
        flags = " ".join([strip, *(f"-X {_VERSION}.{name}={value}" for name, value in named.items())])
        command = [go, "build", *_FLAGS, flags, "-o", str(draft / tool), "."]
        where = HERE
    else:
        command = [go, "build", *_FLAGS, strip, "-o", str(draft / tool), "sigs.k8s.io/kueue/cmd/kueue"]
        where = HERE / tool
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise CannotBuild(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    print(f"built {tool} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
