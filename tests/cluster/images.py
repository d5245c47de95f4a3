"""Container images from local files, without a registry or a container engine: archives that containerd imports.

``docker.io/local/uws-service:test`` holds what the real image holds: an interpreter with the packages of
``requirements/runtime.txt`` and this checkout's ``uws_service``; and busybox's ``sh``, for the commands of tests.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.cluster.paths import CACHE, ROOT

PAUSE, BUSYBOX, SERVICE = (f"docker.io/local/{name}" for name in ("pause:1", "busybox:1", "uws-service:test"))
_PAUSE_C = """#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>
static void end(int n) { (void)n; _exit(0); }
static void reap(int n) { (void)n; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""
SITE = "usr/local/lib/python{}.{}/site-packages".format(*sys.version_info)


def busybox() -> Path:
    """An archive with two small images: the pause container's, and a static busybox."""

    def write(draft: Path) -> None:
        program = draft.with_suffix(".bin")
        subprocess.run(
            ["gcc", "-static", "-Os", "-o", str(program), "-x", "c", "-"], input=_PAUSE_C.encode(), check=True
        )
        pause = Layer(lambda tar: _add(tar, program, "pause"))
        shell = Layer(_add_busybox)
        save(draft, {PAUSE: ([pause], ["/pause"]), BUSYBOX: ([shell], ["/bin/sh"])})
        program.unlink()

    return _cached("busybox", hashlib.sha256(_PAUSE_C.encode()).hexdigest()[:12], write)


def service() -> Path:
    """An archive with the image of this checkout's service."""
    packages = list(_packages())
    base = hashlib.sha256(f"{sys.version}{packages}".encode() + Path(__file__).read_bytes())
    code = hashlib.sha256()
    for path in _code():
        code.update(f"{path.relative_to(ROOT)} ".encode() + path.read_bytes())

    def write(draft: Path) -> None:
        layers = [
            _cached_layer("python", base.hexdigest()[:12], _add_python),
            _cached_layer("packages", base.hexdigest()[:12], lambda tar: _add_packages(tar, packages)),
            Layer(_add_code),
        ]
        save(draft, {SERVICE: (layers, ["python", "-m", "uws_service"])})

    return _cached("service", base.hexdigest()[:8] + code.hexdigest()[:12], write, keep=2)


# --- archives ---------------------------------------------------------------------------------------------------------


class Layer:
    """One layer: an uncompressed tar in memory or in a file."""

    def __init__(self, fill: Callable[[tarfile.TarFile], None] | None = None, path: Path | None = None) -> None:
        self.path = path
        self.data = b""
        if fill is not None:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                fill(tar)
            self.data = buffer.getvalue()

    def digest(self) -> str:
        """SHA-256 of the tar."""
        if self.path is None:
            return hashlib.sha256(self.data).hexdigest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def save(target: Path, images: dict[str, tuple[list[Layer], list[str]]]) -> None:
    """Write images with their layers and entry points as one ``docker save`` archive."""
    manifest = []
    written: set[str] = set()
    with tarfile.open(target, "w") as tar:
        for name, (layers, entry) in images.items():
            digests = [layer.digest() for layer in layers]
            config = {
                "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
                "os": "linux",
                "config": {"Entrypoint": entry, "User": "65534", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
                "history": [{"created_by": "tests"} for _ in digests],
            }
            text = json.dumps(config).encode()
            file = f"{hashlib.sha256(text).hexdigest()}.json"
            _add_bytes(tar, file, text)
            for layer, digest in zip(layers, digests, strict=True):
                if digest not in written:
                    written.add(digest)
                    if layer.path is not None:
                        tar.add(layer.path, f"{digest}.tar")
                    else:
                        _add_bytes(tar, f"{digest}.tar", layer.data)
            manifest.append({"Config": file, "RepoTags": [name], "Layers": [f"{one}.tar" for one in digests]})
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def _cached(name: str, digest: str, write: Callable[[Path], None], keep: int = 1) -> Path:
    """A file in the cache; it is written if it is not there, and the oldest ones of its name go."""
    folder = CACHE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{digest}.tar"
    if not target.exists():
        draft = folder / f".{name}.{os.getpid()}"
        write(draft)
        draft.rename(target)
        others = sorted(folder.glob(f"{name}-*.tar"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in others[keep:]:
            old.unlink(missing_ok=True)
    return target


def _cached_layer(name: str, digest: str, fill: Callable[[tarfile.TarFile], None]) -> Layer:
    def write(draft: Path) -> None:
        with tarfile.open(draft, "w") as tar:
            fill(tar)

    return Layer(path=_cached(f"layer-{name}", digest, write))


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _add(tar: tarfile.TarFile, source: Path, name: str) -> None:
    """A file, link target resolved, that everybody may read."""
    info = tar.gettarinfo(str(source.resolve()), name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if source.stat().st_mode & 0o100 or ".so" in source.name else 0o644
    info.type = tarfile.REGTYPE
    with source.open("rb") as file:
        tar.addfile(info, file)


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)


# --- what is in the service's image -------------------------------------------------------------------------------


def _add_busybox(tar: tarfile.TarFile) -> None:
    program = shutil.which("busybox")
    if program is None:
        raise RuntimeError("busybox is not installed")
    for folder in ("bin", "tmp", "etc"):
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
        tar.addfile(info)
    _add(tar, Path(program), "bin/busybox")
    for name in ("sh", "sleep", "cat", "echo", "dd", "ls", "wget", "head", "true", "false", "id", "ps", "kill", "find",
                 "env", "cp", "mkdir", "touch", "nc", "tail", "seq", "yes", "grep", "chmod"):  # fmt: skip
        _add_link(tar, f"bin/{name}", "busybox")
    _add_bytes(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")


def _add_python(tar: tarfile.TarFile) -> None:
    _add_busybox(tar)
    prefix = Path(sys.base_prefix)
    version = "python{}.{}".format(*sys.version_info)
    program = Path(os.path.realpath(sys.executable))
    _add(tar, program, "usr/local/bin/python3")
    _add_link(tar, "usr/local/bin/python", "python3")
    library = prefix / "lib" / version
    skip = {"site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
    for path in sorted(library.rglob("*")):
        inside = path.relative_to(library)
        if inside.parts[0] in skip or inside.parts[0].startswith("config-") or not path.is_file():
            continue
        _add(tar, path, f"usr/local/lib/{version}/{inside}")
    sources = [program, *library.glob("lib-dynload/*.so"), *_compiled()]
    for path in sorted(_needed(sources)):
        _add(tar, path, str(path).lstrip("/"))
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        _add(tar, certificates, "etc/ssl/certs/ca-certificates.crt")


def _compiled() -> Iterator[Path]:
    for name in _packages():
        for file in importlib.metadata.distribution(name).files or ():
            if ".so" in file.name:
                yield Path(str(file.locate()))


def _needed(programs: Iterable[Path]) -> set[Path]:
    """The system's libraries that programs need, as the dynamic linker finds them."""
    found: set[Path] = set()
    names = [str(one) for one in programs if one.exists()]
    for start in range(0, len(names), 100):
        told = subprocess.run(["ldd", *names[start : start + 100]], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE):
            if "site-packages" not in path:
                found.add(Path(path))
    # Names are looked up through this library, which no program says that it needs.
    for one in list(found):
        if one.name == "libc.so.6":
            found |= {
                path for name in ("libnss_files.so.2", "libnss_dns.so.2") if (path := one.with_name(name)).exists()
            }
    return found


def _packages() -> Iterator[str]:
    """The distributions of the lock file that are installed here."""
    for line in (ROOT / "requirements" / "runtime.txt").read_text().splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", line)
        if match is not None:
            try:
                importlib.metadata.distribution(match[1])
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system, or only needed to build
            yield match[1]


def _add_packages(tar: tarfile.TarFile, packages: list[str]) -> None:
    root = Path(sysconfig.get_path("purelib"))
    seen = set()
    for name in packages:
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            useless = "tests" in file.parts and name in ("scipy", "numpy")
            if ".." in file.parts or useless or not path.is_file() or path in seen:
                continue
            seen.add(path)
            _add(tar, path, f"{SITE}/{path.relative_to(root) if path.is_relative_to(root) else file}")


def _code() -> Iterator[Path]:
    for folder in (ROOT / "uws_service", ROOT / "schemas"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _add_code(tar: tarfile.TarFile) -> None:
    """The package, compiled beforehand: the image's root is read-only."""
    import compileall
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for path in _code():
            inside = path.relative_to(ROOT)
            inside = Path("uws_service", inside) if inside.parts[0] == "schemas" else inside
            target = Path(folder, inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        compileall.compile_dir(folder, quiet=2, stripdir=folder, prependdir=f"/{SITE}", invalidation_mode=_unchecked())
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                _add(tar, path, f"{SITE}/{path.relative_to(folder)}")


def _unchecked() -> object:
    import py_compile

    return py_compile.PycInvalidationMode.UNCHECKED_HASH
