"""Container images as archives that containerd imports, written from local files: no container engine is needed.

An image is a list of layers, each a tar archive of files; all owned by root and readable by anyone, with times that
follow from the content alone, so that the same files always give the same layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.rig.paths import cache_folder, locked

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of a layer.

    Where it lies in the image and what it is.
    """

    path: str
    source: Path | None = None
    content: bytes | None = None
    link: str | None = None
    mode: int = 0o644
    mtime: int = 0


@dataclass
class Layer:
    """A tar archive in the cache, with its digest and size."""

    path: Path
    digest: str
    size: int


def folder(path: str, mode: int = 0o755) -> Entry:
    """Return a folder."""
    return Entry(path.rstrip("/") + "/", mode=mode)


def write_layer(entries: Iterable[Entry], target: Path) -> Layer:
    """Write a layer.

    The folders above each entry come by themselves.
    """
    digest = hashlib.sha256()
    added: set[str] = set()
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for entry in entries:
                _add(tar, entry, added)
        file.flush()
        size = file.tell()
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(target)
    return Layer(target, digest.hexdigest(), size)


def _add(tar: tarfile.TarFile, entry: Entry, added: set[str]) -> None:
    parts = entry.path.strip("/").split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        if parent not in added:
            added.add(parent)
            info = tarfile.TarInfo(parent)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
    name = "/".join(parts)
    if name in added:
        return
    added.add(name)
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = entry.mode, entry.mtime
    if entry.path.endswith("/"):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif entry.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(info)
    else:
        content = entry.content if entry.source is None else entry.source.read_bytes()
        assert content is not None
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def write_image(name: str, layers: list[Layer], target: Path, config: Mapping[str, object]) -> Path:
    """Write an image of these layers as an OCI archive; ``config`` is the image's ``Env``, ``Entrypoint`` and so on."""
    description = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
    }
    config_blob = json.dumps(description, sort_keys=True).encode()
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": _descriptor(f"{kind}.config.v1+json", config_blob),
        "layers": [
            {"mediaType": f"{kind}.layer.v1.tar", "digest": f"sha256:{layer.digest}", "size": layer.size}
            for layer in layers
        ],
    }
    manifest_blob = json.dumps(manifest, sort_keys=True).encode()
    described = _descriptor(manifest["mediaType"], manifest_blob)
    described["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [described]}
    with (
        tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        _blob(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _blob(tar, "index.json", json.dumps(index).encode())
        for blob in (manifest_blob, config_blob):
            _blob(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        for layer in layers:
            info = tarfile.TarInfo(f"blobs/sha256/{layer.digest}")
            info.size = layer.size
            with layer.path.open("rb") as content:
                tar.addfile(info, content)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(target)
    return target


def _descriptor(kind: object, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


def _blob(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


ACCOUNTS = [
    Entry("etc/passwd", content=b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n"),
    Entry("etc/group", content=b"root:x:0:\nnogroup:x:65534:\n"),
]


def images_folder() -> Path:
    """Return where images and layers lie in the cache."""
    path = cache_folder() / "images"
    path.mkdir(parents=True, exist_ok=True)
    return path


def small_image(name: str, entries: list[Entry], config: Mapping[str, object]) -> Path:
    """Return an image of a few files in one layer, in the cache under a hash of them."""
    digest = hashlib.sha256(json.dumps([name, dict(config)]).encode())
    for entry in entries:
        digest.update(f"{entry.path} {entry.mode} {entry.link}".encode())
        digest.update(entry.source.read_bytes() if entry.source else entry.content or b"")
    short = name.rpartition("/")[2].partition(":")[0]
    target = images_folder() / f"{short}-{digest.hexdigest()[:12]}.tar"
    with locked(images_folder() / f"{short}.lock"):
        if not target.exists():
            layer = write_layer(entries, target.with_suffix(".layer"))
            write_image(name, [layer], target, config)
            layer.path.unlink()
    return target


def write_thin(archive: Path, present: Collection[str], target: IO[bytes]) -> None:
    """Copy an archive without the blobs that a node has already, of which most are large layers."""
    with tarfile.open(archive) as source, tarfile.open(fileobj=target, mode="w") as thin:
        for member in source:
            folder, _, digest = member.name.rpartition("/")
            if folder == "blobs/sha256" and digest in present:
                continue
            thin.addfile(member, source.extractfile(member) if member.isfile() else None)
