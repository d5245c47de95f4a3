"""Images of this checkout.

The service, which can do everything, and the agent, which only stages files.

They are put together from what this machine has: the interpreter that runs this, its standard library, the shared
libraries that these need, the installed packages that ``uws_service`` and its applications depend on, and the code of
this checkout. ``Containerfile`` at the root of the repository makes the same image for real from the registries' parts.

Three layers, so that a change of the code costs little: the interpreter, the packages, the code. In the image the
packages and the code lie in a virtual environment, ``/opt/uws``, whatever the layout of this machine's Python is.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import py_compile
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

from tests.rig.archives import ACCOUNTS, Entry, Layer, folder, images_folder, write_image, write_layer
from tests.rig.compiler import static_program
from tests.rig.paths import CHECKOUT, locked

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
STDLIB = f"usr/lib/{VERSION}"
SITE = f"opt/uws/lib/{VERSION}/site-packages"

# Parts of the standard library that nothing of ours imports.
# astropy imports the first; the second has the picture of the application `cutout`.
KEPT_TESTS = ("astropy/tests/", "astropy/io/fits/hdu/compressed/tests/")
UNUSED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages"}

CONFIG = {
    "User": "65534:65534",
    "WorkingDir": "/tmp",
    "Env": [
        "PATH=/opt/uws/bin:/usr/bin:/bin",
        "HOME=/tmp",
        "LANG=C.UTF-8",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
    ],
}


def service(name: str, shell: list[Entry]) -> Path:
    """Return the archive of the service's image.

    With a shell, which the applications of tests use.
    """
    return _image(name, service_layers(shell), ["-m", "uws_service"])


def service_layers(shell: list[Entry]) -> list[Layer]:
    """Return what the service's image is made of, lowest first."""
    return [_interpreter_layer(), _shell_layer(shell), _packages_layer(), _code_layer()]


def agent(name: str) -> Path:
    """Return the archive of the agent's image."""
    return _image(name, [_interpreter_layer(), _agent_layer()], ["-I", "-m", "uws_service.agent.pod"])


def _image(name: str, layers: list[Layer], arguments: list[str]) -> Path:
    config = {**CONFIG, "Entrypoint": ["/opt/uws/bin/python", *arguments]}
    key = hashlib.sha256(repr((name, config, [layer.digest for layer in layers])).encode()).hexdigest()[:12]
    short = name.rpartition("/")[2].partition(":")[0]
    target = images_folder() / f"{short}-{key}.tar"
    with locked(images_folder() / "python.lock"):
        if not target.exists():
            write_image(name, layers, target, config)
            _prune(f"{short}-*.tar", target)
    return target


def _layer(name: str, key: Iterable[object], entries: Callable[[], Iterable[Entry]]) -> Layer:
    """Return a layer from the cache, made if what it is made of has changed."""
    digest = hashlib.sha256(f"{VERSION} {CONFIG}".encode())
    for part in key:
        digest.update(f"{part}\n".encode())
    target = images_folder() / f"{name}-{digest.hexdigest()[:12]}.layer"
    record = target.with_suffix(".digest")
    with locked(images_folder() / "python.lock"):
        if record.exists():
            sha, size = record.read_text().split()
            return Layer(target, sha, int(size))
        layer = write_layer(entries(), target)
        record.write_text(f"{layer.digest} {layer.size}")
        for pattern in (f"{name}-*.layer", f"{name}-*.digest"):
            _prune(pattern, target, record)
    return layer


def _prune(pattern: str, *keep: Path) -> None:
    """Remove what is older than three days.

    Other checkouts may still use what is newer.
    """
    for path in images_folder().glob(pattern):
        if path not in keep and time.time() - path.stat().st_mtime > 3 * 86400:
            path.unlink(missing_ok=True)


# The interpreter


def _interpreter_layer() -> Layer:
    program = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    stat = program.stat()
    key = [program, stat.st_size, stat.st_mtime_ns, *sorted(UNUSED)]
    return _layer("interpreter", key, lambda: _interpreter(program, library))


def _interpreter(program: Path, library: Path) -> Iterator[Entry]:
    yield from ACCOUNTS
    yield Entry("etc/nsswitch.conf", content=b"passwd: files\ngroup: files\nhosts: files dns\n")
    yield folder("tmp", 0o1777)
    yield Entry(f"usr/bin/{VERSION}", program, mode=0o755)
    for alias in ("python", "python3"):
        yield Entry(f"usr/bin/{alias}", link=VERSION, mode=0o777)
        yield Entry(f"opt/uws/bin/{alias}", link=f"/usr/bin/{VERSION}", mode=0o777)
    settings = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\n"
    yield Entry("opt/uws/pyvenv.cfg", content=settings.encode())
    binaries = [program]
    files = []
    for top, folders, names in os.walk(library):
        folders[:] = [name for name in folders if name not in UNUSED and not name.startswith("config-")]
        files += [Path(top, name) for name in names if not name.endswith(".a")]
    for path in sorted(files):
        if path.suffix == ".so":
            if "_tkinter" in path.name or "_test" in path.name:
                continue
            binaries.append(path)
        yield from _python_file(path, f"{STDLIB}/{path.relative_to(library)}")
    yield from _libraries(binaries)


def _python_file(path: Path, target: str) -> Iterator[Entry]:
    """Yield a file.

    With one of Python's, its compiled form: the image is read-only, so it can't be made later.
    """
    if "__pycache__" in path.parts:
        return
    stat = path.stat()
    # The compiled form holds for a source of this very time.
    yield Entry(target, path, mode=0o755 if os.access(path, os.X_OK) else 0o644, mtime=int(stat.st_mtime))
    if path.suffix != ".py":
        return
    compiled = importlib.util.cache_from_source(str(path))
    name = importlib.util.cache_from_source("/" + target).lstrip("/")
    try:
        content = Path(compiled).read_bytes()
    except OSError:
        content = b""
    expected = (int(stat.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + stat.st_size.to_bytes(4, "little")
    if content[:16] != importlib.util.MAGIC_NUMBER + bytes(4) + expected:
        content = _compile(path, target)
    if content:
        yield Entry(name, content=content)


def _compile(path: Path, target: str) -> bytes:
    """Return the compiled form that holds whatever the source's time is; nothing for a file that is a template, say."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            py_compile.compile(
                str(path),
                cfile=file.name,
                dfile=f"/{target}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, SyntaxError):
            return b""
        return Path(file.name).read_bytes()


def _libraries(binaries: Iterable[Path]) -> Iterator[Entry]:
    """Yield the shared libraries of this machine that programs and modules need, where the loader looks for them."""
    versions: dict[str, str] = {}
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True).stdout
        for name, path in re.findall(r"(\S+) => (/\S+) \(0x", listed):
            versions.setdefault(name, path)
        for path in re.findall(r"^\s+(/\S*ld-\S+) \(0x", listed, re.MULTILINE):
            versions.setdefault(path, path)
    system = os.path.dirname(versions.get("libc.so.6", "/usr/lib/libc.so.6"))
    places = sysconfig.get_config_var("base"), str(Path(sys.prefix))
    for name, path in sorted(versions.items()):
        if any(path.startswith(f"{place}/lib/{VERSION}/") for place in places):
            continue  # a package's own, which it finds beside itself
        target = path if os.path.isabs(name) or path.startswith(("/lib", "/usr/lib")) else f"{system}/{name}"
        yield Entry(target.lstrip("/"), Path(path), mode=0o755)


def _shell_layer(entries: list[Entry]) -> Layer:
    key = [(entry.path, entry.link, entry.source and entry.source.stat().st_mtime_ns) for entry in entries]
    return _layer("shell", key, lambda: entries)


# The packages


def needed_distributions() -> list[importlib.metadata.Distribution]:
    """Return the distributions that the service needs.

    Found by following the requirements of service and applications.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["apps"]]
    distributions: dict[str, importlib.metadata.Distribution] = {}
    visited: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        distribution = importlib.metadata.distribution(requirement.name)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        distributions[name] = distribution
        for extra in ("", *requirement.extras):
            if (name, extra) in visited:
                continue
            visited.add((name, extra))
            for text in distribution.requires or []:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    queue.append(inner)
    return [distributions[name] for name in sorted(distributions)]


def _packages_layer() -> Layer:
    distributions = needed_distributions()
    key = [*(f"{distribution.name} {distribution.version}" for distribution in distributions), *KEPT_TESTS]
    return _layer("packages", key, lambda: _packages(distributions))


def _packages(distributions: list[importlib.metadata.Distribution]) -> Iterator[Entry]:
    binaries = []
    for distribution in distributions:
        for file in distribution.files or []:
            path = Path(str(distribution.locate_file(file)))
            parts = file.parts
            # Scripts lie outside; tests of the numeric packages are a third of their size.
            tests = "tests" in parts[1:-1] and not str(file).startswith(KEPT_TESTS)
            if tests or ".." in parts or "__pycache__" in parts:
                continue
            if not path.is_file():
                continue
            if ".so" in path.suffixes:
                binaries.append(path)
            yield from _python_file(path, f"{SITE}/{file}")
    yield from _libraries(binaries)


# The code


def _code_layer() -> Layer:
    files = [*_files(CHECKOUT / "uws_service", f"{SITE}/uws_service")]
    files += _files(CHECKOUT / "schemas", f"{SITE}/uws_service/schemas")
    script = b"#!/opt/uws/bin/python\nimport sys\nfrom uws_service.cli import main\n\nsys.exit(main())\n"
    command = Entry("opt/uws/bin/uws-service", content=script, mode=0o755)
    launcher = _launcher()
    return _layer("code", _contents([*files, launcher]), lambda: [command, launcher, *_with_compiled(files)])


def _agent_layer() -> Layer:
    files = [*_files(CHECKOUT / "uws_service" / "agent", f"{SITE}/uws_service/agent")]
    files.append(Entry(f"{SITE}/uws_service/__init__.py", CHECKOUT / "uws_service" / "__init__.py"))
    launcher = _launcher()
    return _layer("agent-code", _contents([*files, launcher]), lambda: [launcher, *_with_compiled(files)])


def _launcher() -> Entry:
    """Return what runs the commands of pods."""
    program = static_program(CHECKOUT / "uws_service" / "agent" / "launch.c")
    return Entry("opt/uws/bin/uws-launch", program, mode=0o755)


def _files(top: Path, target: str) -> Iterator[Entry]:
    for path in sorted(top.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield Entry(f"{target}/{path.relative_to(top)}", path)


def _contents(files: Iterable[Entry]) -> Iterator[str]:
    for entry in files:
        assert entry.source is not None
        yield f"{entry.path} {hashlib.sha256(entry.source.read_bytes()).hexdigest()}"


def _with_compiled(files: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the files as they are, whatever their times, and the compiled form of Python's."""
    for entry in files:
        yield entry
        if entry.source is not None and entry.source.suffix == ".py":
            name = importlib.util.cache_from_source("/" + entry.path).lstrip("/")
            yield Entry(name, content=_compile(entry.source, entry.path))
