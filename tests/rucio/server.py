"""A Rucio server on SQLite, with storage elements that WebDAV servers hold."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.rucio.environment import RUCIO
from tests.server import free_port

FOLDER = Path(__file__).parent
START_SECONDS = 180
TRANSFER_SECONDS = 300
ACCOUNT, USER, PASSWORD = "root", "ops", "ops-password"

ALEMBIC = """
[alembic]
script_location = {packages}/rucio/db/sqla/migrate_repo
sqlalchemy.url = {database}
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARN
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(message)s
"""
CONFIG = """
[common]
logdir = {folder}
loglevel = WARNING
mailtemplatedir = {templates}
[database]
default = {database}
echo = 0
pool_reset_on_return = rollback
[alembic]
cfg = {folder}/alembic.ini
[bootstrap]
userpass_identity = {user}
userpass_pwd = {password}
userpass_email = ops@example.org
x509_identity =
gss_identity =
ssh_identity =
[client]
rucio_host = {url}
auth_host = {url}
auth_type = userpass
username = {user}
password = {password}
account = root
request_retries = 1
[policy]
permission = generic
schema = generic
[conveyor]
scheme = file
transfertool = mock
[api]
endpoints_remove = dirac
[cache]
url = 127.0.0.1:1
[trace]
[metadata]
plugins = rucio.core.did_meta_plugins.json_meta.JSONDidMeta
"""


class Process:
    """A process of Rucio's environment that answers at a port."""

    def __init__(self, folder: Path, command: list[Any], environment: Mapping[str, str], probe: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        self.command, self.environment, self.probe = command, environment, probe
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx2.get(self.probe, timeout=2, trust_env=False).status_code < 500:
                    return
            except httpx2.HTTPError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{self.probe} does not answer:\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End the process and its children."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Storage(Process):
    """A storage element: a folder behind a WebDAV server, at an address of this machine."""

    def __init__(self, folder: Path, name: str, host: str = "127.0.0.1") -> None:
        python = RUCIO.require()
        self.name = name
        self.host = host
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        program = [
            python,
            "-m",
            "wsgidav.server.server_cli",
            "--auth",
            "anonymous",
            "--host",
            host,
            "--no-config",
        ]
        super().__init__(folder, [*program, "--port", self.port, "--root", self.files], {}, self.url)


class RucioServer(Process):
    """A Rucio server."""

    def __init__(self, folder: Path) -> None:
        self.python = RUCIO.require()
        folder.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        home = self.python.parent.parent
        values = {
            "folder": folder,
            "url": self.url,
            "database": f"sqlite:///{folder}/rucio.db?timeout=60",  # its daemons write too
            "packages": next((home / "lib").glob("python3*")) / "site-packages",
            "templates": home / "rucio" / "etc" / "mail_templates",
            "user": USER,
            "password": PASSWORD,
        }
        (folder / "alembic.ini").write_text(ALEMBIC.format(**values))
        (folder / "rucio.cfg").write_text(CONFIG.format(**values))
        self.settings = {"RUCIO_CONFIG": str(folder / "rucio.cfg")}
        super().__init__(folder, [self.python, FOLDER / "serve.py", self.port], self.settings, f"{self.url}/ping")

    def operate(self, *calls: tuple[str, list[Any]] | tuple[str, list[Any], dict[str, Any]]) -> list[Any]:
        """Call methods of Rucio's own client."""
        listed = [[call[0], call[1], call[2] if len(call) > 2 else {}] for call in calls]
        done = subprocess.run(
            [self.python, FOLDER / "operate.py"],
            input=json.dumps(listed),
            env={**os.environ, **self.settings},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers: list[Any] = json.loads(done.stdout)
        return answers

    def connect(self, *storages: Storage) -> None:
        """Let data be copied between storage elements, both ways."""
        pairs = [(one, other) for one in storages for other in storages if one is not other]
        self.operate(*(("add_distance", [one.name, other.name, {"distance": 1}]) for one, other in pairs))

    def transfer(self, target: Storage, sources: Sequence[Storage], paths: Iterable[str]) -> None:
        """Do what rules have asked for: copy files to a storage element, then let the conveyor see to the rules."""
        for path in paths:
            copy = target.files / path
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                source = next(entry.files / path for entry in sources if (entry.files / path).exists())
                copy.write_bytes(source.read_bytes())
        done = subprocess.run(
            [self.python, FOLDER / "transfer.py"],
            env={**os.environ, **self.settings},
            capture_output=True,
            text=True,
            timeout=TRANSFER_SECONDS,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def add_storage(self, *storages: Storage) -> None:
        """Make storage elements."""
        calls: list[Any] = []
        for storage in storages:
            reads = {"read": 1, "write": 1, "delete": 1}
            protocol = {
                "scheme": "http",
                "hostname": storage.host,
                "port": storage.port,
                "prefix": "/",
                "impl": "rucio.rse.protocols.webdav.Default",
                "domains": {"lan": reads, "wan": reads},
            }
            # Its mock transfer tool copies between `file` alone, and no bytes: see `transfer`.
            copies = {"third_party_copy_read": 1, "third_party_copy_write": 1}
            copier = {**protocol, "scheme": "file", "domains": {"lan": {}, "wan": copies}}
            calls += [
                ("add_rse", [storage.name], {"deterministic": True}),
                ("add_protocol", [storage.name, protocol]),
                ("add_protocol", [storage.name, copier]),
                ("set_local_account_limit", ["root", storage.name, 10**15]),
            ]
        self.operate(*calls)


def path_of(scope: str, name: str) -> str:
    """Return where a deterministic storage element has a file."""
    digest = hashlib.md5(f"{scope}:{name}".encode()).hexdigest()
    return f"{scope.replace('.', '/')}/{digest[:2]}/{digest[2:4]}/{name}"


def register(
    server: RucioServer, scope: str, contents: Mapping[str, bytes], places: Mapping[str, list[Storage]]
) -> None:
    """Put files at storage elements, and register them with their sizes and checksums."""
    calls: list[Any] = [("add_scope", ["root", scope])]
    by_storage: dict[str, list[dict[str, Any]]] = {}
    for name, content in contents.items():
        for storage in places[name]:
            path = storage.files / path_of(scope, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            by_storage.setdefault(storage.name, []).append(
                {
                    "scope": scope,
                    "name": name,
                    "bytes": len(content),
                    "adler32": f"{zlib.adler32(content):08x}",
                    "md5": hashlib.md5(content).hexdigest(),
                }
            )
    calls += [("add_replicas", [storage, files]) for storage, files in by_storage.items()]
    server.operate(*calls)
