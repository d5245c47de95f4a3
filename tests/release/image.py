"""The image of the Containerfile as ``make release IMAGE=1`` makes it; its base images come from Debian's packages.

No registry is asked: ``python:3.13-slim`` is made here of a minimal Debian 13 with its own Python 3.13.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.batch.tree import mirror
from tests.server import ROOT
from tests.tiers import lacking

RELEASE = "trixie"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
BASE = "docker.io/library/python:3.13-slim"
EPOCH = "1795000000"
BUILD_SECONDS = 3000
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
_HOST_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches its package index; the build may too."""


def sources_digest() -> str:
    """Return a digest of all that goes into the image."""
    digest = hashlib.sha256(f"{RELEASE} {PACKAGES}".encode())
    files = [ROOT / name for name in ("Containerfile", "pyproject.toml", "requirements/runtime.txt", "README.md")]
    for path in sorted([*files, *(ROOT / "uws_service").rglob("*"), *(ROOT / "schemas").rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def folder() -> Path:
    """Return the folder of base image, storage and archives."""
    return Path(os.environ.get("UWS_IMAGE_CACHE") or Path.home() / ".cache" / "uws-service" / "image")


def archive(number: int = 1) -> Path:
    """Return the archive that a build of these sources makes."""
    return folder() / f"{sources_digest()}-{number}.oci.tar"


def require_image() -> Path:
    """Return the archive.

    Skip the test where it was not built.
    """
    for tool in ("buildah", "mmdebstrap"):
        if shutil.which(tool) is None:
            lacking(f"{tool} is not installed; Debian has it")
    if os.geteuid() != 0:
        lacking("the image is built by root")
    if not archive().exists():
        lacking("the image was not built of these sources: python -m tests.release image does that (ten minutes)")
    return archive()


def environment() -> dict[str, str]:
    """Return the variables for buildah: a storage of its own, no kernel features that containers may lack."""
    top = folder()
    top.mkdir(parents=True, exist_ok=True)
    storage = top / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{top}/root"\nrunroot = "{top}/run"\n')
    (top / "policy.json").write_text(POLICY)
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot",
            "SOURCE_DATE_EPOCH": EPOCH}  # fmt: skip


def buildah(*words: str, timeout: float = 300) -> str:
    """Run buildah, and return what it prints."""
    ended = subprocess.run(
        ["buildah", *words], env=environment(), timeout=timeout, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def build(number: int = 1) -> Path:
    """Build the archive of these sources unless it is there; another number is another build of them."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not archive(number).exists():
            _make_base()
            _release(archive(number))
    return archive(number)


def compare() -> list[str]:
    """Build the image twice, and return the blobs that only one of the archives has."""
    first, second = (set(blobs(build(number))) for number in (1, 2))
    return sorted(first ^ second)


def blobs(image: Path) -> list[str]:
    """Return the names of all blobs of an archive, which are their digests."""
    with tarfile.open(image) as tar:
        return sorted(name for name in tar.getnames() if name.startswith("blobs/sha256/"))


def _make_base() -> None:
    tar = folder() / "base.tar"
    if not tar.exists():
        words = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={PACKAGES}",
            RELEASE,
            f"{tar}.part",
            mirror(),
        ]
        subprocess.run([*words[:-2], "--format=tar", *words[-2:]], check=True, timeout=BUILD_SECONDS)
        Path(f"{tar}.part").rename(tar)
    (folder() / "Base").write_text("FROM scratch\nADD base.tar /\n")
    trust = f"--signature-policy={folder()}/policy.json"
    buildah(
        "build", "--timestamp", EPOCH, trust, "--tag", BASE, "-f", str(folder() / "Base"), str(folder()), timeout=600
    )


def _release(target: Path) -> None:
    dist = folder() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    options = [
        "--pull-never",
        "--network=host",
        *(f"--volume={path}:{path}:ro" for path in _HOST_FILES if Path(path).exists()),
    ]
    words = [sys.executable, str(ROOT / "scripts" / "release.py"), "--folder", str(dist), "--image"]
    words += [f"--signature-policy={folder()}/policy.json", *(f"--build-option={option}" for option in options)]
    subprocess.run(words, check=True, env=environment(), timeout=BUILD_SECONDS)
    (image,) = dist.glob("*.oci.tar")
    image.rename(target)
