"""Checks servers of others that can be had as packages: ``make conformance-peers``. So far DaCHS, from Debian.

DaCHS runs as a user without rights, with a database of its own, on free ports of this machine. Where it is not
installed its packages are unpacked below ``build/peers``; PostgreSQL with pgsphere and q3c must be installed.
Nothing is written elsewhere, and everything is stopped at the end. Reports: ``build/peers/dachs.json`` and ``.html``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from uws_conformance.cli import main as check

from tests.server import free_port

BUILD = Path(__file__).resolve().parents[2] / "build" / "peers"
PACKAGE = "gavodachs2-server"
NOT_NEEDED = re.compile(r".*-dev$|texlive|fonts-|libxsimd|tk8|blt$")
UNPRIVILEGED = "nobody"


def run(*command: str, **options: object) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    return str(done.stdout)


def installed() -> Path | None:
    """The folder that stands for ``/``: the machine's own if DaCHS is installed, or that of its packages."""
    if shutil.which("dachs"):
        return Path("/")
    root = BUILD / "root"
    return root if (root / "usr" / "bin" / "dachs").exists() else None


def unpacked() -> Path:
    """The same; the packages are fetched and unpacked first, if they are not there."""
    root = installed()
    if root is None:
        root = BUILD / "root"
        plan = run("apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE)
        names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        archives = BUILD / "packages"
        archives.mkdir(parents=True, exist_ok=True)
        run("apt-get", "download", *[name for name in names if not NOT_NEEDED.match(name)], cwd=archives)
        for archive in archives.glob("*.deb"):
            run("dpkg-deb", "-x", str(archive), str(root))
    return root


def postgresql() -> Path:
    """The newest PostgreSQL with the extensions that DaCHS needs."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True):
        extensions = Path("/usr/share/postgresql") / folder.name / "extension"
        if all((extensions / f"{name}.control").exists() for name in ("pg_sphere", "q3c")):
            return folder / "bin"
    raise SystemExit(
        "PostgreSQL with pgsphere and q3c is missing: apt-get install postgresql-15-pgsphere postgresql-15-q3c"
    )


class Dachs:
    """One DaCHS server with its database, from ``with`` on."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.port, self.database = folder, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        usr = root / "usr"
        libraries = usr / "lib" / "x86_64-linux-gnu"
        self.environment = {
            "PATH": f"{usr / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "GAVOSETTINGS": str(folder / "gavo.rc"),
            "PYTHONPATH": f"{usr / 'lib/python3/dist-packages'}:{usr / 'lib/python3.11/dist-packages'}",
            "LD_LIBRARY_PATH": ":".join(str(libraries / name) for name in ("", "blas", "lapack", "openblas-pthread")),
            "PGHOST": "127.0.0.1", "PGPORT": str(self.database), "PGUSER": "dachs", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self.python = ["/usr/bin/python3", str(usr / "bin" / "dachs")]
        self.bin = postgresql()
        self.server: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        """A command, given to the user without rights where this is root."""
        if os.geteuid() != 0:
            return list(words)
        return ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=nogroup", "--clear-groups", *words]

    def do(self, *words: str) -> None:
        with (self.folder / "log").open("ab") as log:
            subprocess.run(
                self.command(*words),
                check=True,
                timeout=600,
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        """Make the database and the tables of TAP, and serve."""
        group = "nogroup" if os.geteuid() == 0 else run("id", "-gn").strip()
        (self.folder / "gavo.rc").write_text(
            f"[general]\nrootDir: {self.folder}/gavo\nlogDir: {self.folder}/gavo/logs\ngroup: {group}\n"
            f"gavoGroup: {group}\n[web]\nserverURL: {self.url}\nbindAddress: 127.0.0.1\nserverPort: {self.port}\n"
        )
        if os.geteuid() == 0:
            run("chown", "-R", UNPRIVILEGED, str(self.folder))
        self.do(str(self.bin / "initdb"), "-D", "pg", "-A", "trust", "-U", "dachs")
        options = f"-p {self.database} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-o", options, "-l", "pg.log", "-w", "start")
        self.do(str(self.bin / "createdb"), "gavo")
        self.do(*self.python, "init", "-d", f"host=127.0.0.1 port={self.database} dbname=gavo user=dachs")
        self.do(*self.python, "imp", "-m", "//tap")
        with (self.folder / "log").open("ab") as log:
            serve = self.command(*self.python, "serve", "debug")
            self.server = subprocess.Popen(serve, env=self.environment, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/tap/availability", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"DaCHS did not start:\n{(self.folder / 'log').read_text()[-3000:]}")

    def __enter__(self) -> Dachs:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server, then its database."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(30)
        if (self.folder / "pg" / "postmaster.pid").exists():
            self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-m", "fast", "-w", "stop")


def main() -> int:
    """Check DaCHS; the exit status tells only whether it could be checked."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with Dachs(unpacked(), Path(folder)) as dachs:
            reports = [f"--json={BUILD / 'dachs.json'}", f"--html={BUILD / 'dachs.html'}"]
            status = check([f"{dachs.url}/tap/async", "--profile", "dachs", "--quiet", *reports])
    print(f"the reports are {BUILD}/dachs.json and .html")
    return 0 if status in (0, 1) else status


if __name__ == "__main__":
    sys.exit(main())
