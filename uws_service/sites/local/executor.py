"""A site that is this machine.

Each attempt is an agent with its command, in processes of their own.

The work folder of each attempt holds all that is known of it, so nothing is lost when the service ends or is killed:
the agents go on, and the next service finds them. A job runs as the same user as the service. Its environment holds
nothing of the service's, but the operating system does not keep it from other files of that user: for commands that
you do not trust use a site that isolates them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from uws_service.agent import folder as layout
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt, Launch, Observation, Reason, Seen
from uws_service.domain.errors import (
    ConfigurationError,
    ServiceUnavailable,
    StorageFull,
    UwsError,
)
from uws_service.sites.executor import Collected, Executor
from uws_service.sites.kind import DataTokens
from uws_service.sites.local.agents import AgentProcesses
from uws_service.sites.local.attempts import ENDED, AttemptFolders
from uws_service.sites.local.bell import Bell
from uws_service.sites.local.cgroups import Cgroups, prepare
from uws_service.sites.local.collection import collect
from uws_service.sites.local.containment import contained
from uws_service.sites.local.fork_servers import ForkServers
from uws_service.sites.local.processes import (
    Key,
    identity_of,
    kill_leftovers,
    log_end,
    remove,
    signal_agent,
)
from uws_service.sites.local.search_path import search_paths
from uws_service.sites.local.settings import PRELOADED
from uws_service.sites.local.workfolder import place
from uws_service.store import WorkFolder

log = structlog.get_logger(__name__)

LOCK_SECONDS = 10.0
"""So long an earlier service, which may still be ending, has to let go of the work folder."""
KILL_SECONDS = 10.0
"""After this time a stopped agent is killed; its command got only two seconds."""
STAGE_OUT_SECONDS = 600.0
"""So long a stopped agent may go on to collect results that are complete."""
LAST_WORD_SECONDS = 2.0
"""So long an agent that has written its last word may take to end."""
DELIVERY_PAUSE_MAX_SECONDS = 30.0
MESSAGE_LENGTH = 1000


class LocalExecutor(Executor):
    """Runs attempts as processes on this machine.

    Parameters
    ----------
    site
        The site's name.
    work
        Folder for work folders; one process at a time drives it.
    depot
        Where inputs come from, and results and logs go.
    capacity
        How many attempts may run at once.
    python
        The interpreter that runs the agent; its folder comes first in the commands' ``PATH``.
    allow_private, allow_hosts, fetch_timeout
        What the agent may fetch: private addresses, hosts that are excepted, seconds without a byte.
    data
        Where tokens for the jobs' data come from.
    processes
        How many processes one command may have at once.
    runner
        Words before a command that runs in a container image; none: there are no images here.
    preloaded
        Modules of Python whose commands are forked from a process that has imported them.
    path
        Folders in which commands are looked for, after that of ``python``.
    """

    streams: tuple[str, ...] = ("stdout", "stderr")

    def __init__(
        self,
        site: str,
        work: Path,
        depot: Depot,
        *,
        capacity: int,
        python: str = sys.executable,
        allow_private: bool = False,
        allow_hosts: tuple[str, ...] = (),
        fetch_timeout: float = 60.0,
        data: DataTokens | None = None,
        processes: int = 1000,
        runner: tuple[str, ...] = (),
        preloaded: tuple[str, ...] = PRELOADED,
        path: tuple[Path, ...] = (),
    ) -> None:
        self.site = site
        self.capacity = capacity
        self.work = Path(work).resolve()
        self.depot = depot
        self.data = data
        self.python = python
        self.bell = Bell(self.work / ".bell")
        paths = search_paths(python, path)
        self.surroundings = {
            "base_environment": paths,
            "fetch": {"allow_private": allow_private, "allow_hosts": list(allow_hosts), "timeout": fetch_timeout},
            "bell": str(self.bell.path),
            "processes": processes,
        }
        """What the spec of every attempt here holds beside its launch."""
        self.identity = WorkFolder("")
        """The work folder as the database knows it, once it is taken."""
        self._deliveries: dict[Key, asyncio.Task[None]] = {}
        self._agents = AgentProcesses(python, self._agent_ended)
        self.fork_servers = ForkServers(python, paths, preloaded)
        self._killing: dict[Key, asyncio.Task[None]] = {}
        self._lock = -1
        self.processes = processes
        self.runner = runner
        self.groups = Cgroups(None)
        self.folders = AttemptFolders(self.work, lambda name: self.groups.kill(name))

    # -- the site -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the work folder, and follow the agents that an earlier service left."""
        if not os.access(self.python, os.X_OK):
            raise ConfigurationError(f"site {self.site}: {self.python} is no program that can be run.")
        try:
            self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.work / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
            await self._take_lock()
            self.identity = WorkFolder(identity_of(self.work / ".identity"), socket.gethostname(), str(self.work))
            self.bell.open()
        except OSError as error:
            await self.stop()
            raise ConfigurationError(f"work folder {self.work}: {error.strerror or error}") from None
        self.groups = await asyncio.to_thread(prepare, self.work)
        if self.groups.lacking:
            log.warning(
                "jobs of this site can leave some of their limits: this machine gives the service no full cgroup v2",
                site=self.site,
                lacking=self.groups.lacking,
            )
        for key, folder in self.folders.items():
            self._agents.adopt(key, folder)
        for path in self.work.glob(".trash-*"):
            await asyncio.to_thread(remove, path)

    async def _take_lock(self) -> None:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    await self.stop()
                    raise ConfigurationError(
                        f"Another process runs jobs in the work folder {self.work}. Start this one with `controller: "
                        "false` to answer requests only, or have one service with `--workers`; only a service with "
                        "another database may have jobs of its own here, in a work folder of its own."
                    ) from None
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Let go of the work folder.

        Agents and their commands go on.
        """
        tasks = [*self._deliveries.values(), *self._killing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.fork_servers.close()
        self._agents.release()
        self.bell.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self.groups.release()

    async def wait_change(self, timeout: float) -> None:
        """Return when there is something new since the last `observe`, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.bell.rung.wait(), timeout)

    # -- deliver an attempt --------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Begin to deliver an attempt.

        Nothing happens if it is here already.

        Raises
        ------
        Refused
            It needs a container image, and nothing here runs images.
        """
        key = launch.job_id, launch.number
        if key in self._deliveries or key in self._agents or layout.is_claimed(str(self.folders.path(*key))):
            return
        planned = contained(launch, self.runner, self.site) if launch.needs_image else launch
        self._deliveries[key] = asyncio.create_task(self._deliver(key, planned))

    async def _deliver(self, key: Key, launch: Launch) -> None:
        """Place the files, then start the agent.

        What may pass is tried again for as long as it takes.
        """
        folder = self.folders.path(*key)
        pause = 1.0
        try:
            while True:
                try:
                    # The spec is written last. If it is there, an agent may be starting: change nothing under it.
                    if not (folder / layout.SPEC).exists():
                        group = self.groups.make(folder.name, processes=self.processes, memory=launch.memory)
                        await place(folder, launch, self.depot, {**self.surroundings, "group_folder": group})
                    secrets = await self.data.held(launch.job_id) if self.data is not None else None
                    await self._agents.start(key, folder, secrets, self.fork_servers.of(launch))
                    return
                except (ServiceUnavailable, StorageFull, OSError) as error:
                    log.warning("attempt can't be delivered yet", job=key[0], attempt=key[1], error=str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, DELIVERY_PAUSE_MAX_SECONDS)
        except UwsError as error:
            folder.mkdir(exist_ok=True)
            await asyncio.to_thread(self.folders.conclude, folder, Reason.STAGE_IN, error.message)
        finally:
            del self._deliveries[key]
            self.bell.rung.set()

    def _agent_ended(self, key: Key) -> None:
        """See that an attempt does not hang whose agent has ended before it took it."""
        self._agents.adopt(key, self.folders.path(*key))  # another one, which has taken it
        if self.folders.path(*key).exists() and not layout.is_claimed(str(self.folders.path(*key))):
            self._deliveries[key] = asyncio.create_task(self._give_up(key))
        self.bell.rung.set()

    async def _give_up(self, key: Key) -> None:
        """Conclude an attempt that its agent never took.

        Python itself does not run, or the disk is full.
        """
        folder = self.folders.path(*key)
        try:
            output = layout.clean(log_end(folder, "agent.log") or b"", MESSAGE_LENGTH).strip()
            message = f"The agent could not start: {output}"
            await asyncio.to_thread(self.folders.conclude, folder, Reason.AGENT_LOST, message)
        finally:
            del self._deliveries[key]
            self.bell.rung.set()

    # -- look -----------------------------------------------------------------------------------------------------

    async def observe(self) -> list[Observation]:
        """Return what the work folders say.

        An attempt whose agent is gone without a last word has failed.
        """
        self.bell.rung.clear()
        deliveries = set(self._deliveries)
        with _disk(self.work):
            observations = await asyncio.to_thread(self.folders.observe, deliveries.union(self._agents.keys()))
        # Those whose folder was not there yet when we looked, and that nobody has stopped since.
        current = {*self._deliveries, *self._agents.keys()}
        missed = deliveries & current - {(observation.job_id, observation.number) for observation in observations}
        return observations + [Observation(*key, Seen.STARTING) for key in missed]

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the last MiB of ``stdout`` or ``stderr`` as it is now."""
        if name not in ("stdout", "stderr"):
            return None
        return await asyncio.to_thread(log_end, self.folders.path(job_id, number), f"{layout.LOG}/{name}")

    # -- end ------------------------------------------------------------------------------------------------------

    async def kill(self, job_id: str, number: int) -> None:
        """Stop the attempt, whether it is being delivered, fetches its inputs, or runs."""
        key = job_id, number
        await self._stop_delivery(key)
        folder = self.folders.path(*key)
        if not folder.exists() or key in self._killing:
            return
        if layout.claim(str(folder)):  # an agent that is just starting finds that and ends
            await asyncio.to_thread(self.folders.conclude, folder, Reason.ABORTED, "Stopped before it started.")
            self.bell.rung.set()
        elif signal_agent(folder, signal.SIGTERM):
            self._killing[key] = asyncio.create_task(self._insist(key, folder))

    async def _insist(self, key: Key, folder: Path) -> None:
        """Kill an agent that does not end by itself."""
        try:
            began = time.monotonic()
            while layout.agent_pid(str(folder)) is not None:
                status = layout.read_json(str(folder / layout.STATUS)) or {}
                patience = STAGE_OUT_SECONDS if status.get("step") == "stage-out" else KILL_SECONDS
                if time.monotonic() - began > patience:
                    signal_agent(folder, signal.SIGKILL)
                await asyncio.sleep(0.2)
        finally:
            del self._killing[key]
            self.bell.rung.set()

    async def _stop_delivery(self, key: Key) -> None:
        task = self._deliveries.get(key)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def collect(self, observation: Observation, attempt: Attempt | None = None) -> Collected:
        """Put results and logs into the depot, as the agent described them or not at all."""
        return await collect(self.folders.path(observation.job_id, observation.number), observation, self.depot)

    async def forget(self, job_id: str, number: int) -> None:
        """Remove the work folder and whatever still runs in it."""
        key = job_id, number
        await self._stop_delivery(key)
        folder = self.folders.path(*key)
        if not folder.exists():
            return
        layout.claim(str(folder))
        await self._end_agent(folder)
        moved = self.work / f".trash-{folder.name}-{time.time_ns()}"
        # Moved away first: an agent that starts late finds no folder, never a half-empty one.
        with _disk(self.work), contextlib.suppress(FileNotFoundError):
            folder.rename(moved)
            await asyncio.to_thread(remove, moved)

    async def _end_agent(self, folder: Path) -> None:
        """Wait for an agent that has said its last word; kill one that has not."""
        status = layout.read_json(str(folder / layout.STATUS)) or {}
        patience = time.monotonic() + (LAST_WORD_SECONDS if status.get("state") in ENDED else 0)
        was_killed = False
        while layout.agent_pid(str(folder)) is not None:
            if time.monotonic() >= patience:
                was_killed = signal_agent(folder, signal.SIGKILL) or was_killed
            await asyncio.sleep(0.01)
        if was_killed:
            await asyncio.to_thread(kill_leftovers, folder)
        await asyncio.to_thread(self.groups.remove, folder.name)


@contextlib.contextmanager
def _disk(work: Path) -> Iterator[None]:
    """Raise faults of the work folder's disk as errors that pass."""
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else ServiceUnavailable
        raise kind(f"work folder {work}: {error.strerror or error}", retry_after=5) from None
