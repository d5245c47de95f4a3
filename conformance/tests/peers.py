"""Conformance of other servers: ``make conformance-peers``.

They are DaCHS, from Debian, and Daiquiri and fornax-cutouts, from the package index. Each runs as a user without
rights, with a database of its own, on free ports of this machine. Packages are unpacked and installed below
``build/peers``; for the first two PostgreSQL with pgsphere and q3c must be installed. Nothing is written elsewhere,
and everything is stopped at the end. The reports are ``build/peers/NAME.json`` and ``.html``.
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

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from uws_conformance.cli import main as check

from tests import debian_postgresql
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
    """Return the programs of the PostgreSQL with DaCHS's extensions."""
    if debian_postgresql.has_sky_extensions():
        return debian_postgresql.programs()
    raise SystemExit(
        "PostgreSQL with pgsphere and q3c is missing: apt-get install postgresql-15-pgsphere postgresql-15-q3c"
    )


class Peer:
    """Another server, which runs from ``with`` on, as a user without rights."""

    jobs = "/tap/async"
    """The path of its job list."""
    ready = "/tap/availability"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
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

    def start(self) -> None:
        """Prepare and start the server, and await its answer."""
        serve = self.command(*self.prepare())
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(serve, env=self.environment, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}{self.ready}", timeout=5):
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
        """Stop the server."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(120)


class DatabasePeer(Peer):
    """A server with a PostgreSQL of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.database = free_port()
        self.bin = postgresql()

    def start_database(self, user: str, *names: str) -> None:
        """Start PostgreSQL with empty databases."""
        self.own()
        self.do(str(self.bin / "initdb"), "-D", "pg", "-A", "trust", "-U", user)
        options = f"-p {self.database} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-o", options, "-l", "pg.log", "-w", "start")
        for name in names:
            self.do(str(self.bin / "createdb"), "-h", "127.0.0.1", "-p", str(self.database), "-U", user, name)

    def stop(self) -> None:
        """Stop the server, then its database."""
        super().stop()
        if (self.folder / "pg" / "postmaster.pid").exists():
            self.do(str(self.bin / "pg_ctl"), "-D", "pg", "-m", "fast", "-w", "stop")


class Dachs(DatabasePeer):
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


class Daiquiri(DatabasePeer):
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


FORNAX = {
    "sources/demo.py": """
from pathlib import Path

from fornax_cutouts.models.cutouts import FilenameLookupResponse, FilenameWithMetadata
from fornax_cutouts.sources import cutout_registry
from fornax_cutouts.sources.base import AbstractMissionSource, MissionMetadata

FILES = [FilenameWithMetadata(filename=str(Path(__file__).parents[1] / "image.fits"))]


@cutout_registry.register_source
class Demo(AbstractMissionSource):
    metadata = MissionMetadata(name="demo", pixel_size=1.0, max_cutout_size=500, filter=["r"], survey=["s"])

    def get_filenames(self, position, filter, **others):
        return [FilenameLookupResponse(mission="demo", target=target, filenames=FILES) for target in position]
""",
    # Each ends with the others: the last is the server that is asked.
    "serve.sh": """
set -eu
trap 'kill $(jobs -p)' EXIT
trap exit TERM
"$1/bin/python" redis_server.py "$CUTOUTS__REDIS__PORT" &
until python3 -c 'import os, socket; socket.create_connection(("127.0.0.1", int(os.environ["CUTOUTS__REDIS__PORT"])))' \
    2>/dev/null; do sleep 0.2; done
"$1/bin/fornax-cutouts" worker --concurrency 1 &
"$1/bin/fornax-cutouts" api --host 127.0.0.1 --port "$2" &
wait -n
""",
    "redis_server.py": """
import sys

from fakeredis import TcpFakeServer

TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()
""",
    "profile.yaml": """
short: {position: "150 2.2", size: "10", demo.filter: r, demo.survey: s}
long: null
failing: {position: "150 2.2", size: "10", demo.filter: none, demo.survey: s}
parameter: {size: "20"}
chapters: [UWS 1.1, DALI 1.1, VOSI 1.1, Clients]
""",
}


class Fornax(Peer):
    """fornax-cutouts in a virtual environment below ``build/peers``, with one source and one worker.

    Its jobs are in the server of `fakeredis`, since Redis with its JSON commands can't be had from Debian.
    """

    jobs = "/api/v0/cutouts/async"
    ready = "/openapi.json"

    def __init__(self, environment: Path, folder: Path) -> None:
        super().__init__(folder)
        self.programs = environment
        self.environment |= {
            "CUTOUTS__SOURCE_PATH": str(folder / "sources"), "CUTOUTS__STORAGE__PREFIX": str(folder / "results"),
            "CUTOUTS__REDIS__HOST": "127.0.0.1", "CUTOUTS__REDIS__PORT": str(free_port()),
        }  # fmt: skip

    def prepare(self) -> list[str]:
        """Create an image and its source."""
        for name, text in FORNAX.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        write_image(self.folder / "image.fits")
        self.own()
        return ["bash", "serve.sh", str(self.programs), str(self.port)]


def write_image(path: Path) -> None:
    """Write an image of 100 arcsec around the position that the profile asks for."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.2], [50.5, 50.5]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    fits.PrimaryHDU(np.ones((100, 100), np.float32), wcs.to_header()).writeto(path)


def fornax_installed() -> Path:
    """Install fornax-cutouts where it is missing.

    It asks for Python 3.12 but runs with 3.11, and does not start with newer versions of fastapi.
    """
    environment = BUILD / "fornax"
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (environment / "complete").exists():
        run(sys.executable, "-m", "venv", "--clear", str(environment))
        run(*pip, "--no-deps", "--ignore-requires-python", "fornax-cutouts==0.1.1")
        listed = "import importlib.metadata as m; print('\\n'.join(m.requires('fornax-cutouts')))"
        lines = run(str(environment / "bin" / "python"), "-c", listed).splitlines()
        run(*pip, *(line for line in lines if "extra ==" not in line), "fastapi==0.125", "fakeredis[json,lua]")
        (environment / "complete").touch()
    return environment


PEERS: dict[str, tuple[str, Callable[[Path], Peer]]] = {
    "dachs": ("dachs", lambda folder: Dachs(unpack_dachs(), folder)),
    "daiquiri": ("tap", lambda folder: Daiquiri(daiquiri_installed(), folder)),
    "fornax": ("profile.yaml", lambda folder: Fornax(fornax_installed(), folder)),
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
                if profile.endswith(".yaml"):  # one of the peer's own
                    profile = str(peer.folder / profile)
                status = max(status, check([peer.url + peer.jobs, "--profile", profile, "--quiet", *reports]) & 2)
        print(f"the reports on {name} are {BUILD / name}.json and .html")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
