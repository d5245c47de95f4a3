"""A real Slurm cluster on this machine, out of the tree: with accounting, REST and several nodes, without systemd."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.batch import tree
from tests.batch.condor import wait_until
from tests.server import free_port

TEMPLATE = Path(__file__).with_name("slurm.conf")
UP_SECONDS = 120
FOLDERS = ("log", "run", "state", "spool", "munge", "jwt", "mysql", "shared")
DATABASE_DAEMON = """
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=@DBD_PORT@
AuthType=auth/munge
AuthInfo=socket=@BASE@/munge/socket
SlurmUser=slurm
LogFile=@BASE@/log/slurmdbd.log
PidFile=@BASE@/run/slurmdbd.pid
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=@BASE@/jwt/key
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=@PASSWORD@
StorageLoc=slurm_acct
"""
ACCOUNTS = ("alice", "bob")
USER = "uws"


class SlurmCluster:
    """Starts, breaks and stops one cluster.

    Parameters
    ----------
    name
        The cluster's name; its folder in the tree has it too, with a number of its own.
    nodes, cores
        How many nodes there are, and how many jobs with one core run at once on each.
    """

    def __init__(self, name: str, nodes: int = 2, cores: int = 4) -> None:
        self.name = name
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.cores = cores
        self.port, self.dbd_port, self.rest_port = free_port(), free_port(), free_port()
        self.node_ports = [free_port() for _ in self.nodes]
        self.inner = f"/srv/slurm/{name}-{os.getpid()}-{self.port}"
        self.folder = tree.folder() / self.inner.lstrip("/")
        self.shared = self.folder / "shared"
        """A folder that every job may write to; `inner_shared` is its path on the nodes."""
        self.inner_shared = f"{self.inner}/shared"
        self.token = self.folder / "jwt" / "uws.token"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.remove()

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all daemons, and return once the nodes are idle and the REST service answers."""
        self._write()
        base = self.inner
        self._inside(
            *("setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups", "munged"),
            f"--key-file={base}/munge/key",
            f"--socket={base}/munge/socket",
            f"--pid-file={base}/munge/pid",
            f"--log-file={base}/munge/log",
            f"--seed-file={base}/munge/seed",
        )
        self._start_database()
        self._inside("slurmdbd")
        wait_until(lambda: self._works("sacctmgr", "-n", "list", "cluster"), "slurmdbd answers", UP_SECONDS)
        for entity in (
            ("cluster", self.name),
            ("account", USER, "Description=uws", "Organization=uws"),
            *(("account", name, f"parent={USER}", f"Description={name}", "Organization=uws") for name in ACCOUNTS),
            *(("user", USER, f"Account={name}") for name in (USER, *ACCOUNTS)),
        ):
            self._inside("sacctmgr", "-i", "add", *entity)
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: self.tool("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(self.nodes), "nodes")
        self.start_rest()
        words = self.tool("scontrol", "token", f"username={USER}", "lifespan=86400").strip()
        with open(os.open(self.token, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
            file.write(words.partition("=")[2])

    def _write(self) -> None:
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir()
        (self.folder / "munge" / "key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "jwt" / "key").write_bytes(secrets.token_bytes(32))
        self.password = secrets.token_urlsafe(18)
        lines = [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={self.cores} RealMemory=4096"
            for node, port in zip(self.nodes, self.node_ports, strict=True)
        ]
        values = {
            "@BASE@": self.inner,
            "@NAME@": self.name,
            "@PORT@": str(self.port),
            "@DBD_PORT@": str(self.dbd_port),
            "@NODES@": "\n".join(lines),
            "@PASSWORD@": self.password,
        }
        for name, text in (("slurm.conf", TEMPLATE.read_text()), ("slurmdbd.conf", DATABASE_DAEMON)):
            for mark, value in values.items():
                text = text.replace(mark, value)
            (self.folder / name).write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        tree.run_inside(
            "sh",
            "-ceu",
            "cd $0; chown -R munge:munge munge; chmod 400 munge/key; chmod 711 munge; chown -R mysql:mysql mysql; "
            "chown slurm:slurm jwt/key state run log slurmdbd.conf; chmod 600 jwt/key slurmdbd.conf; "
            "chmod 755 log run; chmod 1777 shared",
            self.inner,
        )

    def _start_database(self) -> None:
        """Start MariaDB, by its socket alone."""
        base = self.inner
        options = ("--no-defaults", f"--datadir={base}/mysql")
        install = ("--auth-root-authentication-method=normal", "--skip-test-db", "--user=mysql")
        self._inside("mariadb-install-db", *options, *install)
        self._begin(
            "mariadbd",
            *("setpriv", "--reuid", "mysql", "--regid", "mysql", "--clear-groups", "mariadbd", *options),
            f"--socket={base}/mysql/socket",
            "--skip-networking",
            f"--pid-file={base}/mysql/pid",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-lock-wait-timeout=900",
        )
        client = ("mariadb", "--no-defaults", f"--socket={base}/mysql/socket", "-e")
        wait_until(lambda: self._works(*client, "select 1"), "MariaDB answers", UP_SECONDS)
        user = f"create user slurm@localhost identified by '{self.password}'"
        self._inside(*client, f"create database slurm_acct; {user}; grant all on slurm_acct.* to slurm@localhost;")

    def start_controller(self) -> None:
        """Start slurmctld, and return once it answers."""
        self._inside("slurmctld")
        wait_until(lambda: self._works("scontrol", "ping"), "slurmctld answers", UP_SECONDS)

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self._inside("slurmd", "-N", node)

    def resume_nodes(self) -> None:
        """Let nodes take jobs again, as an operator does after a fault, and return once all are up."""
        running = [process.cmdline()[-1] for process in self.daemons("slurmd")]
        for node in self.nodes:
            if node not in running:
                self.start_node(node)
            if not self._works("scontrol", "update", f"nodename={node}", "state=resume"):
                continue  # it is up

        def are_up() -> bool:
            return all(
                state in ("idle", "mixed", "allocated") for state in self.tool("sinfo", "-h", "-N", "-o", "%T").split()
            )

        wait_until(are_up, "all nodes are up", UP_SECONDS)

    def start_rest(self) -> None:
        """Start slurmrestd, which takes tokens only, and return once it listens."""
        user = ("setpriv", "--reuid", "slurmrest", "--regid", "slurmrest", "--clear-groups")
        words = ("slurmrestd", "-a", "rest_auth/jwt", "-s", "slurmctld,slurmdbd", "-d", "v0.0.42,v0.0.41", "-t", "4")
        self._begin("slurmrestd", *user, *words, f"127.0.0.1:{self.rest_port}", SLURM_JWT="daemon")
        wait_until(lambda: _listens(self.rest_port), "slurmrestd listens", UP_SECONDS)

    def stop(self) -> None:
        """End all that runs here, jobs included: whatever has this cluster's folder in its words or its environment."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for child in self._children.values():
            child.kill()
            child.wait()
        self._children = {}

    def _family(self) -> list[psutil.Process]:
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environment = process.environ()
                if self.inner in " ".join([*process.cmdline(), environment.get("SLURM_CONF", "")]):
                    members.append(process)
                    above = process.parent()  # slurmstepd writes its title over its environment
                    if above is not None and _is_called(above, "slurmstepd") and above not in members:
                        members.append(above)
        return [process for process in members if process.pid != os.getpid()]

    def remove(self) -> None:
        """End the cluster and remove everything of it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- use -------------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": f"{self.inner}/slurm.conf", "MYSQL_UNIX_PORT": f"{self.inner}/mysql/socket"}

    def _inside(self, *words: str) -> str:
        return tree.run_inside(*words, environment=self.environment)

    def _works(self, *words: str) -> bool:
        try:
            self._inside(*words)
        except RuntimeError:
            return False
        return True

    def _begin(self, name: str, *words: str, **variables: str) -> None:
        """Start a daemon that stays in the foreground."""
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._children[name] = subprocess.Popen(
                [str(tree.INSIDE), str(tree.folder()), *words],
                env={**path, **self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def tool(self, *words: str, user: str = "") -> str:
        """Run one of Slurm's programs inside, and return what it says."""
        prefix = ("setpriv", "--reuid", user, "--regid", user, "--init-groups") if user else ()
        return self._inside(*prefix, *words)

    def login(self) -> list[str]:
        """Return the words before a command that run it as the service's user where Slurm's programs are."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"]
        return [str(tree.INSIDE), str(tree.folder()), "env", "-i", "PATH=/usr/bin:/bin", *environment, *user]

    def daemons(self, name: str) -> list[psutil.Process]:
        """Return this cluster's processes of a name, such as ``slurmd`` or ``slurmstepd``."""
        return [process for process in self._family() if _is_called(process, name)]

    def kill(self, name: str) -> int:
        """``kill -9`` all daemons of a name, and return how many there were."""
        processes = self.daemons(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        return len(processes)

    def accounted(self, job_id: str, fields: str = "State,ExitCode,Account") -> list[str]:
        """Return what the accounting has of an attempt's batch job."""
        words = ("sacct", "-n", "-X", "-P", "-S", "now-1hour", f"--name=uws-{job_id}-1", "-o", fields)
        return self.tool(*words).splitlines()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of a site for the service; ``PORT`` stands for the service's port."""
        return {
            "name": self.name,
            "kind": "slurm",
            "url": f"http://127.0.0.1:{self.rest_port}",
            "user": USER,
            "token": str(self.token),
            "account": USER,
            "agent_url": "http://127.0.0.1:PORT",
            "container": "/opt/stand-in/apptainer",
            "poll": 0.5,
            "heartbeat": 2,
            "live_log": 1,
            **changes,
        }


def _is_called(process: psutil.Process, name: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == name
    return False


def _listens(port: int) -> bool:
    import socket

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
