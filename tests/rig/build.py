"""Builds the programs that a cluster needs, each once, into a cache outside the checkout.

Every program is built from Go modules with pinned versions. Its folder in the cache carries a hash of what it is built
from, so a changed version is built anew and an unchanged one never again. Two builders at once are no problem: the
second waits for the first and finds the work done.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.rig.errors import ClusterError, Unable
from tests.rig.paths import RIG_FOLDER, cache_folder, locked

KUBERNETES = "1.36.3"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet")


@dataclass(frozen=True)
class Tool:
    """One program.

    Attributes
    ----------
    sources
        Files that it is built from.
    arguments
        What ``go`` is told; ``{output}`` stands for the program's path.
    folder
        Where ``go`` runs.
    names
        Names that the program is found by, beside its own.
    files
        Files and folders of the program's module that are kept beside it.
    minutes
        About how long it takes on two cores with nothing cached.
    """

    name: str
    version: str
    arguments: tuple[str, ...]
    minutes: float
    sources: tuple[Path, ...] = ()
    folder: Path = RIG_FOLDER
    names: tuple[str, ...] = ()
    module: str = ""
    files: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return a hash of everything that decides what comes out."""
        digest = hashlib.sha256(repr((self.name, self.version, self.arguments, self.names, self.files)).encode())
        for source in self.sources:
            digest.update(source.read_bytes())
        return digest.hexdigest()[:12]

    @property
    def home(self) -> Path:
        """Return the program's folder in the cache."""
        return cache_folder() / f"{self.name}-{self.version}-{self.key}"


def _version_flags(version: str) -> str:
    major, minor, _ = version.split(".")
    package = "k8s.io/component-base/version"
    values = {f"{package}.gitMajor": major, f"{package}.gitMinor": minor, f"{package}.gitTreeState": "clean"}
    for target in (package, "k8s.io/client-go/pkg/version"):
        values[f"{target}.gitVersion"] = f"v{version}"
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


def _installed(module: str, command: str, version: str, minutes: float, files: tuple[str, ...] = ()) -> Tool:
    arguments = ("install", "-ldflags=-s -w", f"{module}/{command}@v{version}")
    return Tool(command.rpartition("/")[2], version, arguments, minutes, module=module, files=files)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "kubernetes",
            KUBERNETES,
            ("build", "-ldflags", _version_flags(KUBERNETES), "-o", "{output}", "."),
            5,
            tuple(RIG_FOLDER / name for name in ("main.go", "go.mod", "go.sum")),
            names=COMPONENTS,
            module="k8s.io/kubernetes",
            files=("api/openapi-spec/swagger.json",),
        ),
        Tool(
            "kueue",
            "0.15.0",
            ("build", "-ldflags=-s -w", "-o", "{output}", "sigs.k8s.io/kueue/cmd/kueue"),
            3,
            (RIG_FOLDER / "kueue" / "go.mod", RIG_FOLDER / "kueue" / "go.sum"),
            folder=RIG_FOLDER / "kueue",
            module="sigs.k8s.io/kueue",
            files=("config/components/crd/bases", "config/components/webhook", "config/components/visibility"),
        ),
        _installed("sigs.k8s.io/kwok", "cmd/kwok", "0.8.0", 2, ("kustomize/stage",)),
        _installed("helm.sh/helm/v3", "cmd/helm", "3.22.0", 1),
        _installed("github.com/yannh/kubeconform", "cmd/kubeconform", "0.8.0", 0.5),
    )
}


def go() -> str:
    """Return the Go command."""
    program = shutil.which("go")
    if program is None:
        raise Unable("Go is not installed: Kubernetes is built from source; Go 1.26 or newer is needed on the PATH")
    return program


def ensure(*names: str, report: TextIO = sys.stderr) -> dict[str, Path]:
    """Return the paths of programs by name.

    What is missing is built first, in the order given.
    """
    return {name: _ensure(TOOLS[name], report) for name in names}


def _prune(tool: Tool) -> None:
    """Remove what was built two weeks ago or earlier of other versions: another checkout may use what is newer."""
    for old in cache_folder().glob(f"{tool.name}-[0-9]*"):
        if old != tool.home and time.time() - old.stat().st_mtime > 14 * 86400:
            shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        return
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder in (target, *target.rglob("*/")):
        folder.chmod(0o755)


def _go(*arguments: str) -> str:
    return subprocess.run([go(), *arguments], capture_output=True, text=True, check=True).stdout.strip()


def built(name: str) -> bool:
    """Return whether a program lies in the cache."""
    return TOOLS[name].home.is_dir()


def _ensure(tool: Tool, report: TextIO) -> Path:
    program = tool.home / tool.name
    if tool.home.is_dir():
        return program
    command = go()
    with locked(cache_folder() / f"{tool.name}.lock"):
        if tool.home.is_dir():  # by whoever held the lock before
            return program
        # Beside its final place, so that it can be renamed there: half a build is never taken for a whole one.
        work = Path(tempfile.mkdtemp(prefix=f".{tool.name}-", dir=cache_folder()))
        try:
            _build(tool, command, work, report)
            for name in tool.names:
                (work / name).symlink_to(tool.name)
            for name in tool.files:
                # Modules are read-only in Go's cache; here anyone may throw the copies away.
                _copy(Path(_go("env", "GOMODCACHE"), f"{tool.module}@v{tool.version}", name), work / name)
            work.chmod(0o755)
            work.rename(tool.home)
            _prune(tool)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return program


def _build(tool: Tool, command: str, work: Path, report: TextIO) -> None:
    """Run Go, telling how far it is."""
    verb, *arguments = [part.replace("{output}", str(work / tool.name)) for part in tool.arguments]
    log = cache_folder() / f"{tool.name}.build.log"
    env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(work)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [command, verb, "-v", "-trimpath", "-buildvcs=false", *arguments],
            cwd=tool.folder if tool.sources else work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _follow(tool, process, log, report)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0 or not (work / tool.name).is_file():
        raise ClusterError(f"{tool.name} {tool.version} could not be built ({log}):\n{log.read_text()[-3000:]}")


def _follow(tool: Tool, process: subprocess.Popen[bytes], log: Path, report: TextIO) -> None:
    title = f"Building {tool.name} {tool.version}"
    started = time.monotonic()
    progress = Progress(report, f"{title}, about {tool.minutes:g} min on two cores, once; log: {log}")
    while True:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            packages = len(re.findall(rb"^(?!go: )", log.read_bytes(), re.MULTILINE)) - 1
            progress.say(f"{title}: {time.monotonic() - started:.0f} s, {max(packages, 0)} packages")
        else:
            progress.done(f"{title}: {time.monotonic() - started:.0f} s")
            return


class Progress:
    """One line that changes on a terminal.

    A line every half minute elsewhere.
    """

    def __init__(self, report: TextIO, title: str) -> None:
        self._report = report
        self._terminal = report.isatty()
        self._last = time.monotonic()
        print(title, file=report, flush=True)

    def say(self, text: str) -> None:
        """Say how far it is."""
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=self._report, flush=True)
        elif time.monotonic() - self._last > 30:
            self._last = time.monotonic()
            print(text, file=self._report, flush=True)

    def done(self, text: str) -> None:
        """Say that it is done."""
        print(f"\r\033[K{text}" if self._terminal else text, file=self._report, flush=True)


def paths(names: Sequence[str], find: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Return programs of this machine.

    An error that names all that are missing and the packages that have them.
    """
    missing = [name for name in names if find(name) is None]
    if missing:
        packages = {
            "ip": "iproute2",
            "tc": "iproute2",
            "nsenter": "util-linux",
            "busybox": "busybox-static",
            "ctr": "containerd",
        }
        packages_needed = sorted({packages.get(name, name) for name in missing})
        raise Unable(f"{', '.join(missing)} not found; Debian has them in: {' '.join(packages_needed)}")
    return [str(find(name)) for name in names]
