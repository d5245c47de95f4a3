"""A real HTCondor pool on this machine, out of the tree: all daemons on one port of the loopback address."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.batch import tree
from tests.server import free_port

TEMPLATE = Path(__file__).with_name("condor.conf")
USER = "uws@uws.test"
UP_SECONDS = 120
FOLDERS = ("log", "lock", "run", "spool", "execute", "config.d", "passwords.d", "tokens.d", "client")


class CondorPool:
    """Starts, breaks and stops one pool.

    Parameters
    ----------
    name
        The pool's name; its folder in the tree has it too, with a number of its own.
    cores
        How many jobs with one core run at once.
    """

    def __init__(self, name: str, cores: int = 4) -> None:
        self.name = name
        self.cores = cores
        self.port = free_port()
        self.inner = f"/srv/condor/{name}-{os.getpid()}-{self.port}"
        self.folder = tree.folder() / self.inner.lstrip("/")
        self.tokens = self.folder / "client"
        self.shared = self.folder / "shared"
        """A folder that every job may write to; `inner_shared` is its path on the nodes."""
        self.inner_shared = f"{self.inner}/shared"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.remove()

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemons, and return once schedd and machine are in the collector."""
        self._write()
        self.tool("/usr/sbin/condor_master", "-pidfile", f"{self.inner}/run/master.pid")
        self.wait_up()
        token = self.tool(
            "condor_token_create", "-identity", USER, "-authz", "READ", "-authz", "WRITE", "-lifetime", "86400"
        )
        path = self.tokens / self.name
        with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
            file.write(token)

    def _write(self) -> None:
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("passwords.d", "tokens.d", "client"):
            (self.folder / name).chmod(0o700)
        self.shared.mkdir(exist_ok=True)
        self.shared.chmod(0o777)
        runs = self.shared / "runs"  # jobs of every slot append to it
        runs.touch()
        runs.chmod(0o666)
        key = self.folder / "passwords.d" / "POOL"
        with open(os.open(key, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        slots = "\n".join(f"SLOT1_{number}_USER = slot{number}" for number in range(1, tree.SLOT_USERS + 1))
        values = {
            "@POOL@": self.inner,
            "@PORT@": str(self.port),
            "@NAME@": self.name,
            "@CORES@": str(self.cores),
            "@SLOTS@": slots,
        }
        text = TEMPLATE.read_text()
        for mark, value in values.items():
            text = text.replace(mark, value)
        (self.folder / "condor_config").write_text(text)
        owned = [self.inner, *(f"{self.inner}/{name}" for name in ("log", "lock", "run", "spool", "execute"))]
        tree.run_inside("chown", "condor:condor", *owned)

    def wait_up(self) -> None:
        """Wait until the schedd and the machine are in the collector."""
        wait_until(lambda: self._names("-schedd") and self._names(), f"pool {self.name} is up", UP_SECONDS)

    def _names(self, *options: str) -> str:
        try:
            return self.tool("condor_status", *options, "-af", "Name").strip()
        except RuntimeError:
            return ""

    def stop(self) -> None:
        """End the daemons by the master's process id.

        Jobs are killed with them.
        """
        path = self.folder / "run" / "master.pid"
        if not path.exists():
            return
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            master = psutil.Process(int(path.read_text()))
            family = [master, *master.children(recursive=True)]
            master.send_signal(signal.SIGQUIT)
            _, alive = psutil.wait_procs([master], timeout=3)
            for process in [*alive, *family]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=10)
        path.unlink(missing_ok=True)

    def remove(self) -> None:
        """End the pool and remove everything of it but the logs of one that did not work."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- use -------------------------------------------------------------------------------------------------------

    def tool(self, *words: str, user: str = "") -> str:
        """Run one of HTCondor's programs inside, and return what it says."""
        prefix = ("runuser", "-u", user, "--") if user else ()
        return tree.run_inside(*prefix, *words, environment={"CONDOR_CONFIG": f"{self.inner}/condor_config"})

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the pool's processes of a name, such as ``condor_starter``."""
        master = psutil.Process(int((self.folder / "run" / "master.pid").read_text()))
        return [process for process in master.children(recursive=True) if _named(process, name)]

    def kill(self, name: str) -> int:
        """``kill -9`` all daemons of a name, and return how many there were."""
        processes = self.processes(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return len(processes)

    def queue(self) -> list[str]:
        """Return id and status of each job in the queue."""
        return self.tool("condor_q", "-all", "-af", "ClusterId", "JobStatus", "UwsAttempt").splitlines()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of a site for the service; ``PORT`` stands for the service's port."""
        return {
            "name": self.name,
            "kind": "htcondor",
            "collector": f"127.0.0.1:{self.port}",
            "tokens": str(self.tokens),
            "agent_url": "http://127.0.0.1:PORT",
            "accounting_group": "group_uws",
            "container": "/opt/stand-in/apptainer",
            "poll": 0.5,
            "heartbeat": 2,
            "live_log": 1,
            **changes,
        }


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return name in process.name() or any(name in word for word in process.cmdline()[:1])
    except psutil.NoSuchProcess:
        return False


def wait_until(check: Callable[[], Any], purpose: str, seconds: float = 180) -> Any:
    """Return a condition's value once it holds."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {purpose}"
        time.sleep(0.2)
    return value
