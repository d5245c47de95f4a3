"""Container images from local files, as archives that containerd imports: no registry, no Dockerfile, no daemon.

An image is a list of layers, each a tar archive of files; all owned by root and readable by anyone, with times that
follow from the content alone, so that the same files always give the same layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError, Unable
from .paths import HERE, cache_folder, locked

# The names under which containerd knows them; the API server's users may leave out "docker.io/".
PAUSE = "docker.io/local/pause:1"
BUSYBOX = "docker.io/local/busybox:1"

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of a layer: where it lies in the image and what it is."""

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
    """A folder."""
    return Entry(path.rstrip("/") + "/", mode=mode)


def write_layer(entries: Iterable[Entry], target: Path) -> Layer:
    """Write a layer; the folders above each entry come by themselves."""
    digest = hashlib.sha256()
    made: set[str] = set()
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for entry in entries:
                _add(tar, entry, made)
        file.flush()
        size = file.tell()
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(target)
    return Layer(target, digest.hexdigest(), size)


def _add(tar: tarfile.TarFile, entry: Entry, made: set[str]) -> None:
    parts = entry.path.strip("/").split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        if parent not in made:
            made.add(parent)
            info = tarfile.TarInfo(parent)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
    name = "/".join(parts)
    if name in made:
        return
    made.add(name)
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
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
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


def images_folder() -> Path:
    """Where images and layers lie in the cache."""
    path = cache_folder() / "images"
    path.mkdir(parents=True, exist_ok=True)
    return path


def pause_program() -> Path:
    """The static program of the pause image, which is also a site's first process."""
    source = HERE / "pause.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = cache_folder() / f"pause-{key}"
    with locked(cache_folder() / "pause.lock"):
        if not program.exists():
            compiler = shutil.which("cc") or shutil.which("gcc")
            if compiler is None:
                raise Unable("no C compiler: Debian has one in the packages gcc and libc6-dev")
            work = program.with_suffix(".new")
            done = subprocess.run(
                [compiler, "-Os", "-static", "-s", "-o", str(work), str(source)], capture_output=True, text=True
            )
            if done.returncode != 0:
                raise ClusterError(f"pause.c could not be compiled: {done.stderr}")
            work.rename(program)
    return program


def pause_image() -> Path:
    """The image that holds a pod's namespaces."""
    return small_image(PAUSE, [Entry("pause", pause_program(), mode=0o755)], {"Entrypoint": ["/pause"]})


def busybox_image() -> Path:
    """A shell and the common tools, in one static program."""
    program = shutil.which("busybox")
    if program is None:
        raise Unable("busybox not found: Debian has it in the package busybox-static")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = [Entry(f"bin/{name}", link="busybox", mode=0o777) for name in listed if name != "busybox"]
    return small_image(
        BUSYBOX,
        [Entry("bin/busybox", Path(program), mode=0o755), *links, folder("tmp", 0o1777), *ACCOUNTS],
        {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
    )


ACCOUNTS = [
    Entry("etc/passwd", content=b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n"),
    Entry("etc/group", content=b"root:x:0:\nnogroup:x:65534:\n"),
]


def small_image(name: str, entries: list[Entry], config: Mapping[str, object]) -> Path:
    """An image of a few files in one layer, in the cache under a hash of them."""
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
