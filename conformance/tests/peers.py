"""Conformance of other servers: ``make conformance-peers``.

They are DaCHS, from Debian, and Daiquiri, from the package index. Each runs as a user without rights, with a database
of its own, on free ports of this machine. Packages are unpacked and installed below ``build/peers``; PostgreSQL with
pgsphere and q3c must be installed. Nothing is written elsewhere, and everything is stopped at the end. The reports
are ``build/peers/NAME.json`` and ``.html``.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from uws_conformance.cli import main as check

from tests.server import free_port

BUILD = Path(__file__).resolve().parents[2] / "build" / "peers"
PACKAGE = "gavodachs2-server"
NOT_NEEDED = re.compile(r".*-dev$|texlive|fonts-|libxsimd|tk8|blt$")
UNPRIVILEGED = "nobody"


def run(*command: str, **options: object) -> str:
    """Run a command and return its output."""
    process = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    return str(process.stdout)


def dachs_root() -> Path | None:
    """Return the folder that stands for ``/``.

    It is the machine's own if DaCHS is installed there, or that of its unpacked packages.
    """
    if shutil.which("dachs"):
        return Path("/")
    root = BUILD / "root"
    return root if (root / "usr" / "bin" / "dachs").exists() else None


def unpack_dachs() -> Path:
    """Download and unpack DaCHS where it is missing."""
    root = dachs_root()
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
    """Return the newest PostgreSQL with DaCHS's extensions."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True):
        extensions = Path("/usr/share/postgresql") / folder.name / "extension"
        if all((extensions / f"{name}.control").exists() for name in ("pg_sphere", "q3c")):
            return folder / "bin"
    raise SystemExit(
        "PostgreSQL with pgsphere and q3c is missing: apt-get install postgresql-15-pgsphere postgresql-15-q3c"
    )


class Peer:
    """Another server with a database of its own.

    Both run from ``with`` on, as a user without rights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.database = folder, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bin = postgresql()
        self.environment: dict[str, str] = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        self.server: subprocess.Popen[bytes] | None = None

    def prepare(self) -> list[str]:
        """Make what the server needs and return its command."""
        raise NotImplementedError

    def command(self, *words: str) -> list[str]:
        """Return a command for the user without rights."""
        if os.geteuid() != 0:
            return list(words)
        return ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=nogroup", "--clear-groups", *words]

    def do(self, *words: str) -> None:
        """Run a command in the server's folder; log its output."""
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

    def own(self) -> None:
        """Give all files to the server's user."""
        if os.geteuid() == 0:
            run("chown", "-R", f"{UNPRIVILEGED}:nogroup", str(self.folder))

    def start_database(self, user: str, *names: str) -> None:
        """Start PostgreSQL with empty databases."""
        self.own()
        self.do(str(self.bin / "initdb"), "-D", "pg", "-A", "trust", "-U", user)
        options = f"-p {self.database} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-o", options, "-l", "pg.log", "-w", "start")
        for name in names:
            self.do(str(self.bin / "createdb"), "-h", "127.0.0.1", "-p", str(self.database), "-U", user, name)

    def start(self) -> None:
        """Prepare and start the server, and await its answer."""
        serve = self.command(*self.prepare())
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(serve, env=self.environment, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/tap/availability", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"the server did not start:\n{(self.folder / 'log').read_text()[-3000:]}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server, then its database."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(120)
        if (self.folder / "pg" / "postmaster.pid").exists():
            self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-m", "fast", "-w", "stop")


class Dachs(Peer):
    """DaCHS, from the packages below ``root``."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(folder)
        usr = root / "usr"
        libraries = usr / "lib" / "x86_64-linux-gnu"
        self.environment |= {
            "PATH": f"{usr / 'bin'}:/usr/bin:/bin", "GAVOSETTINGS": str(folder / "gavo.rc"),
            "PYTHONPATH": f"{usr / 'lib/python3/dist-packages'}:{usr / 'lib/python3.11/dist-packages'}",
            "LD_LIBRARY_PATH": ":".join(str(libraries / name) for name in ("", "blas", "lapack", "openblas-pthread")),
            "PGHOST": "127.0.0.1", "PGPORT": str(self.database), "PGUSER": "dachs",
        }  # fmt: skip
        self.python = ["/usr/bin/python3", str(usr / "bin" / "dachs")]

    def prepare(self) -> list[str]:
        """Create the tables of TAP, as ``dachs init`` does."""
        group = "nogroup" if os.geteuid() == 0 else run("id", "-gn").strip()
        (self.folder / "gavo.rc").write_text(
            f"[general]\nrootDir: {self.folder}/gavo\nlogDir: {self.folder}/gavo/logs\ngroup: {group}\n"
            f"gavoGroup: {group}\n[web]\nserverURL: {self.url}\nbindAddress: 127.0.0.1\nserverPort: {self.port}\n"
        )
        self.start_database("dachs", "gavo")
        self.do(*self.python, "init", "-d", f"host=127.0.0.1 port={self.database} dbname=gavo user=dachs")
        self.do(*self.python, "imp", "-m", "//tap")
        return [*self.python, "serve", "debug"]


DJANGO = {
    "__init__.py": "",
    "settings.py": """
from importlib import import_module

NAMES = "auth contact datalink files jobs metadata oai query registry serve stats tap uws".split()
for name in ["core.settings.django", "core.settings.daiquiri", *(f"{each}.settings" for each in NAMES[:-1])]:
    globals().update({key: value for key, value in vars(import_module(f"daiquiri.{name}")).items() if key.isupper()})
INSTALLED_APPS = DJANGO_APPS + ["daiquiri.core", *(f"daiquiri.{name}" for name in NAMES)] + ADDITIONAL_APPS
SITE_CREATED = SITE_UPDATED = "2026-01-01"
SITE_TITLE, SITE_IDENTIFIER = "Peer", "example.org"
ASYNC = False  # without a message broker, a job runs in the request that starts it
QUERY_ANONYMOUS, QUERY_MAX_ACTIVE_JOBS = True, {}
REST_FRAMEWORK = {"DEFAULT_THROTTLE_CLASSES": (), "DEFAULT_THROTTLE_RATES": {"query.create": None}}
""",
    "urls.py": """
from django.urls import include, path

urlpatterns = [
    path("tap/", include("daiquiri.tap.urls", namespace="tap")),
    path("query/", include("daiquiri.query.urls", namespace="query")),
    path("metadata/", include("daiquiri.metadata.urls", namespace="metadata")),
    path("accounts/", include("daiquiri.auth.urls_accounts")),
    path("auth/", include("daiquiri.auth.urls_auth", namespace="auth")),
]
""",
    "wsgi.py": """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
""",
}


class Daiquiri(Peer):
    """Daiquiri in a virtual environment below ``build/peers``."""

    def __init__(self, environment: Path, folder: Path) -> None:
        super().__init__(folder)
        self.python = [str(environment / "bin" / "python"), "-m", "django"]
        database_url = f"postgresql://daiquiri@127.0.0.1:{self.database}"
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(folder), "SITE_URL": self.url,
            "DATABASE_APP": f"{database_url}/app", "DATABASE_DATA": f"{database_url}/data",
            "SECRET_KEY": "of-this-run", "DEBUG": "1",
            "QUERY_DOWNLOAD_DIR": str(folder / "down"), "QUERY_UPLOAD_DIR": str(folder / "up"),
            "FILES_BASE_PATH": str(folder / "files"), "ARCHIVE_BASE_PATH": str(folder / "files"),
        }  # fmt: skip

    def prepare(self) -> list[str]:
        """Create a site with nothing but TAP_SCHEMA."""
        (self.folder / "config").mkdir()
        for name, text in DJANGO.items():
            (self.folder / "config" / name).write_text(text)
        for name in ("down", "up", "files"):
            (self.folder / name).mkdir()
        self.start_database("daiquiri", "app", "data")
        schemas = "CREATE SCHEMA tap_schema; CREATE SCHEMA oai_schema; CREATE EXTENSION pg_sphere"
        connection = ("-h", "127.0.0.1", "-p", str(self.database), "-U", "daiquiri")
        self.do(str(self.bin / "psql"), *connection, "data", "-c", schemas)
        for database in ("default", "tap", "oai", "data"):
            self.do(*self.python, "migrate", "--database", database)
        self.do(*self.python, "setup_tap_metadata")
        self.do(*self.python, "rebuild_tap_schema")
        return [*self.python, "runserver", "--noreload", str(self.port)]


def daiquiri_installed() -> Path:
    """Install Daiquiri where it is missing."""
    environment = BUILD / "daiquiri"
    if not (environment / "bin" / "daiquiri-admin").exists():
        run(sys.executable, "-m", "venv", str(environment))
        pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "django-daiquiri", "psycopg[binary]", "psycopg2-binary")
    return environment


PEERS: dict[str, tuple[str, Callable[[Path], Peer]]] = {
    "dachs": ("dachs", lambda folder: Dachs(unpack_dachs(), folder)),
    "daiquiri": ("tap", lambda folder: Daiquiri(daiquiri_installed(), folder)),
}


def main(names: Sequence[str] = ()) -> int:
    """Check the servers with these names, or all.

    The exit status says only whether they could be checked.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in names or PEERS:
        profile, make = PEERS[name]
        reports = [f"--json={BUILD / name}.json", f"--html={BUILD / name}.html"]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # the server's user must be able to enter
            with make(Path(folder)) as peer:
                status = max(status, check([f"{peer.url}/tap/async", "--profile", profile, "--quiet", *reports]) & 2)
        print(f"the reports on {name} are {BUILD / name}.json and .html")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
