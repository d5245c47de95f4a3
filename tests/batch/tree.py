"""A tree of Debian 13 with HTCondor, Slurm and what they need, made once beside the system and kept.

Debian 12 has no HTCondor, and an older Slurm. Nothing of this machine's packages changes. Worker nodes are another
Debian with another Python than the service then, as in life.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiers import lacking

PROGRAMS = Path(__file__).with_name("programs")
INSIDE = PROGRAMS / "inside"
RELEASE = "trixie"
PACKAGES = """
    condor slurmctld slurmd slurm-client slurmrestd slurmdbd munge slurm-wlm-basic-plugins slurm-wlm-jwt-plugin
    slurm-wlm-mysql-plugin mariadb-server python3 procps bubblewrap busybox-static ca-certificates
""".split()
SLOT_USERS = 8
APPLETS = "sh ls cat id env sleep echo ps pwd find grep head tr".split()
RECIPE = 1
"""Raised when something below changes what the tree holds."""
BUILD_SECONDS = 1800


def folder() -> Path:
    """Return where the tree is."""
    configured = os.environ.get("UWS_BATCH_TREE")
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "uws-service" / "batch-tree"


def digest() -> str:
    """Return what the tree is made of, in short."""
    return hashlib.sha256(f"{RELEASE} {PACKAGES} {SLOT_USERS} {RECIPE}".encode()).hexdigest()[:16]


def is_ready() -> bool:
    """Return whether the tree is there, as this checkout wants it."""
    mark = folder() / ".ready"
    return mark.exists() and mark.read_text().strip() == digest()


def require_tree() -> Path:
    """Return the tree, after its build if that goes on; skip the test where it can't be used or was not built."""
    if os.geteuid() != 0:
        pytest.skip("a batch system's daemons and nodes need root")
    folder().parent.mkdir(parents=True, exist_ok=True)
    with locked():
        if not is_ready():
            lacking("there is no tree with batch systems: python -m tests.batch builds it (root, mmdebstrap)")
        refresh(folder())
    return folder()


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the tree's lock: one process builds it or changes it at a time."""
    with (folder().parent / "batch-tree.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


def mirror() -> str:
    """Return the mirror that this machine's packages come from."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        text = path.read_text() if path.exists() else ""
        match = re.search(r"^(?:URIs:|deb(?:\s+\[[^\]]*\])?)\s+(\S+)", text, re.MULTILINE)
        if match:
            return match[1]
    raise RuntimeError("this machine's package sources name no mirror")


def build() -> Path:
    """Make the tree unless it is there.

    As root, with mmdebstrap.
    """
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked():
        if not is_ready():
            shutil.rmtree(target, ignore_errors=True)
            options = ["--variant=minbase", '--aptopt=APT::Install-Recommends "false"']
            words = ["mmdebstrap", *options, f"--include={','.join(PACKAGES)}", RELEASE, str(target), mirror()]
            subprocess.run(words, check=True, timeout=BUILD_SECONDS)
            for words in _users():
                subprocess.run(["chroot", str(target), *words], check=True, timeout=60)
            refresh(target)
            (target / ".ready").write_text(digest())
    return target


def _users() -> Iterator[list[str]]:
    """Yield commands that make the users of jobs: two who submit, one for each slot, one for slurmrestd."""
    for name in ("uws", "other"):
        yield ["useradd", "-m", "-s", "/bin/bash", name]
    for number in range(1, SLOT_USERS + 1):
        yield ["useradd", "-M", "-s", "/usr/sbin/nologin", f"slot{number}"]
    yield ["useradd", "-r", "-M", "-s", "/usr/sbin/nologin", "slurmrest"]


def refresh(target: Path) -> None:
    """Put what is this checkout's own into the tree: the host's names, the stand-in for apptainer, a tiny image."""
    shutil.copyfile("/etc/hosts", target / "etc" / "hosts")  # the host's name must resolve inside too
    stand_in = target / "opt" / "stand-in"
    stand_in.mkdir(parents=True, exist_ok=True)
    _replace(PROGRAMS / "singularity", stand_in / "singularity")
    if not (stand_in / "apptainer").is_symlink():
        (stand_in / "apptainer").symlink_to("singularity")
    tiny = target / "opt" / "images" / "tiny"
    for name in ("bin", "etc", "root", "home", "usr", "var/tmp"):
        (tiny / name).mkdir(parents=True, exist_ok=True)
    if not (tiny / "bin" / "busybox").exists():
        _replace(target / "usr" / "bin" / "busybox", tiny / "bin" / "busybox")
    for applet in APPLETS:
        if not (tiny / "bin" / applet).is_symlink():
            (tiny / "bin" / applet).symlink_to("busybox")


def _replace(source: Path, target: Path) -> None:
    """Copy a program in one step: another worker's nodes may just be running it."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    draft = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.copyfile(source, draft)
    draft.chmod(0o755)
    draft.replace(target)


def run_inside(*words: str, environment: dict[str, str] | None = None, timeout: float = 120) -> str:
    """Run a command in the tree, and return what it says.

    Raises
    ------
    RuntimeError
        It failed.
    """
    variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    answer = subprocess.run(
        [str(INSIDE), str(folder()), *words],
        env={**variables, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if answer.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {answer.returncode}: {answer.stderr}{answer.stdout}")
    return answer.stdout
