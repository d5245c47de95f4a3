"""A site that is this machine: each attempt is an agent with its command, in processes of their own.

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
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

import uws_service
from uws_service.agent import confined
from uws_service.agent import folder as layout
from uws_service.agent.outputs import describe_logs
from uws_service.auth.data_tokens import DataAccess
from uws_service.depot import Depot, Stored, check_key
from uws_service.domain.attempt import Attempt, Launch, Observation, Output, Reason, Seen
from uws_service.domain.errors import (
    ConfigurationError,
    NotFound,
    ServiceUnavailable,
    StorageFull,
    UsageError,
    UwsError,
)
from uws_service.domain.job import Result
from uws_service.sites.executor import Collected, Executor, log_key, result_key
from uws_service.sites.local.cgroups import Cgroups, prepare
from uws_service.sites.local.processes import (
    Key,
    chunks_of,
    identity_of,
    kill_leftovers,
    log_end,
    observation,
    remove,
    signal_agent,
)
from uws_service.sites.local.workfolder import place, search_paths
from uws_service.store import WorkFolder

log = structlog.get_logger(__name__)

AGENT = Path(uws_service.__file__).parent / "agent" / "local.py"
LOCK_WAIT = 10.0
"""Seconds to wait for an earlier service, which may still be ending, to let go of the work folder."""
KILL_AFTER = 10.0
"""Seconds that a stopped agent has before it is killed; its command got only two."""
STAGE_OUT_MAX = 600.0
"""Seconds that a stopped agent may go on to collect results that are complete."""
ENDED = (Seen.SUCCEEDED, Seen.FAILED)


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
        data: DataAccess | None = None,
        processes: int = 1000,
    ) -> None:
        self.site = site
        self.capacity = capacity
        self.work = Path(work).resolve()
        self.depot = depot
        self.data = data
        self.python = python
        self.surroundings = {
            "base_environment": search_paths(python),
            "fetch": {"allow_private": allow_private, "allow_hosts": list(allow_hosts), "timeout": fetch_timeout},
            "bell": str(self._bell_path),
            "processes": processes,
        }
        """What every attempt here is told beside its launch."""
        self.identity = WorkFolder("")
        """The work folder as the database knows it, once it is taken."""
        self._bringing: dict[Key, asyncio.Task[None]] = {}
        self._agents: dict[Key, tuple[int, int]] = {}  # process id, and a handle that tells of its end
        self._killing: dict[Key, asyncio.Task[None]] = {}
        self._change = asyncio.Event()
        self._verdict = threading.Lock()
        self._lock = -1
        self._bell = -1
        self.processes = processes
        self.groups = Cgroups(None)

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
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._bell_path, 0o600)
            self._bell = os.open(self._bell_path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            await self.stop()
            raise ConfigurationError(f"work folder {self.work}: {error.strerror or error}") from None
        asyncio.get_running_loop().add_reader(self._bell, self._rung)
        self.groups = await asyncio.to_thread(prepare, self.work)
        if self.groups.lacking:
            log.warning(
                "jobs of this site can leave some of their limits: this machine gives the service no full cgroup v2",
                site=self.site,
                lacking=self.groups.lacking,
            )
        for key, folder in self._folders():
            self._adopt(key, folder)
        for left in self.work.glob(".trash-*"):
            await asyncio.to_thread(remove, left)

    async def _take_lock(self) -> None:
        end = time.monotonic() + LOCK_WAIT
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
        """Let go of the work folder; agents and their commands go on."""
        tasks = [*self._bringing.values(), *self._killing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        for _, handle in self._agents.values():
            loop.remove_reader(handle)
            os.close(handle)
        self._agents.clear()
        if self._bell >= 0:
            loop.remove_reader(self._bell)
        for file in (self._bell, self._lock):
            if file >= 0:
                os.close(file)
        self._bell = self._lock = -1
        self.groups.release()

    @property
    def _bell_path(self) -> Path:
        return self.work / ".bell"

    def _folder(self, job_id: str, number: int) -> Path:
        return self.work / f"{job_id}-{number}"

    def _folders(self) -> list[tuple[Key, Path]]:
        """The attempts that have a work folder."""
        found = []
        for path in self.work.iterdir():
            job_id, dash, number = path.name.rpartition("-")
            if dash and job_id and number.isdecimal() and not job_id.startswith("."):
                found.append(((job_id, int(number)), path))
        return found

    async def wait_change(self, timeout: float) -> None:
        """Return when there is something new since the last `observe`, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._change.wait(), timeout)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Faults of the work folder's disk as errors that pass."""
        try:
            yield
        except OSError as error:
            kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else ServiceUnavailable
            raise kind(f"work folder {self.work}: {error.strerror or error}", retry_after=5) from None

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 65536)
        self._change.set()

    # -- bring an attempt -----------------------------------------------------------------------------------------

    async def submit(self, launch: Launch) -> None:
        """Begin to bring an attempt; nothing happens if it is here already."""
        key = launch.job_id, launch.number
        if key in self._bringing or key in self._agents or layout.is_claimed(str(self._folder(*key))):
            return
        self._bringing[key] = asyncio.create_task(self._bring(key, launch))

    async def _bring(self, key: Key, launch: Launch) -> None:
        """Place the files, then start the agent; what may pass is tried again for as long as it takes."""
        folder = self._folder(*key)
        pause = 1.0
        try:
            while True:
                try:
                    # The spec is written last. If it is there, an agent may be starting: change nothing under it.
                    if not (folder / layout.SPEC).exists():
                        group = self.groups.make(folder.name, processes=self.processes, memory=launch.memory)
                        await place(folder, launch, self.depot, {**self.surroundings, "group_folder": group})
                    self._spawn(key, folder, await self.data.held(launch.job_id) if self.data is not None else None)
                    return
                except (ServiceUnavailable, StorageFull, OSError) as error:
                    log.warning("attempt can't be brought yet", job=key[0], attempt=key[1], error=str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 30)
        except UwsError as error:
            folder.mkdir(exist_ok=True)
            await asyncio.to_thread(self._conclude, folder, Reason.STAGE_IN, error.message)
        finally:
            del self._bringing[key]
            self._change.set()

    def _spawn(self, key: Key, folder: Path, secrets: dict[str, Any] | None) -> None:
        """Start an agent that outlives this process; a second one for the same folder ends by itself.

        Tokens come by its standard input, out of memory: they are in no file, no argument and no environment.
        """
        told = os.memfd_create("tokens")
        try:
            os.write(told, json.dumps(secrets or {}).encode())
            os.lseek(told, 0, os.SEEK_SET)
            self._start_agent(key, folder, told)
        finally:
            os.close(told)

    def _start_agent(self, key: Key, folder: Path, told: int) -> None:
        said = str(folder / "agent.log")
        pid = os.posix_spawn(
            self.python,
            [self.python, "-I", "-S", "-X", "utf8", str(AGENT), str(folder)],
            {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, told, 0),
                (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[signal.SIGTERM, signal.SIGINT],  # until the agent is ready for them
            setsigdef=[signal.SIGHUP, signal.SIGPIPE],
        )
        self._follow(key, pid, os.pidfd_open(pid))

    def _adopt(self, key: Key, folder: Path) -> None:
        """Follow an agent that an earlier service started."""
        pid = layout.agent_pid(str(folder))
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            if layout.agent_pid(str(folder)) == pid:  # still the same process
                self._follow(key, pid, handle)
            else:
                os.close(handle)

    def _follow(self, key: Key, pid: int, handle: int) -> None:
        self._agents[key] = pid, handle
        asyncio.get_running_loop().add_reader(handle, self._ended, key)

    def _ended(self, key: Key) -> None:
        """An agent has ended: reap it, and see that its attempt does not hang if it never began."""
        pid, handle = self._agents.pop(key)
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
        with contextlib.suppress(ChildProcessError):  # adopted ones are not our children
            os.waitpid(pid, os.WNOHANG)
        if self._folder(*key).exists() and not layout.is_claimed(str(self._folder(*key))):
            self._bringing[key] = asyncio.create_task(self._give_up(key))
        self._change.set()

    async def _give_up(self, key: Key) -> None:
        """The agent ended before it took the attempt: Python itself does not run, or the disk is full."""
        folder = self._folder(*key)
        try:
            said = layout.clean(log_end(folder, "agent.log") or b"", 1000).strip()
            message = f"The agent could not start: {said}"
            await asyncio.to_thread(self._conclude, folder, Reason.AGENT_LOST, message)
        finally:
            del self._bringing[key]
            self._change.set()

    # -- look -----------------------------------------------------------------------------------------------------

    async def observe(self) -> list[Observation]:
        """What the work folders say; an attempt whose agent is gone without a last word has failed."""
        self._change.clear()
        brought = set(self._bringing)
        with self._disk():
            found = await asyncio.to_thread(self._look, brought | self._agents.keys())
        # Those whose folder was not there yet when we looked, and that nobody has stopped since.
        missed = brought & (self._bringing.keys() | self._agents.keys()) - {(one.job_id, one.number) for one in found}
        return found + [Observation(*key, Seen.STARTING) for key in missed]

    def _look(self, expected: set[Key]) -> list[Observation]:
        found = []
        for key, folder in self._folders():
            if not layout.is_claimed(str(folder)):
                if key in expected:
                    found.append(Observation(*key, Seen.STARTING))
                continue  # a service died before it handed this over: `submit` does it again
            alive = layout.agent_pid(str(folder)) is not None  # before the status: what it then says is the last word
            status = layout.read_json(str(folder / layout.STATUS)) or {"state": Seen.STARTING}
            if not alive and status.get("state") not in ENDED:
                status = self._conclude(folder, Reason.AGENT_LOST, "The process that looked after the job is gone.")
            if status:
                found.append(observation(key, status))
        return found

    def _conclude(self, folder: Path, reason: Reason, message: str) -> dict[str, Any]:
        """Write the last word in place of an agent, unless there is one; empty if the folder is gone meanwhile."""
        path = str(folder / layout.STATUS)
        with self._verdict:
            status = layout.read_json(path) or {}
            if status.get("state") in ENDED or not folder.exists():
                return status
            layout.claim(str(folder))
            if reason is Reason.AGENT_LOST:
                self.groups.kill(folder.name)
                kill_leftovers(folder)
            status |= {
                "state": Seen.FAILED,
                "step": "ended",
                "ended": time.time_ns() // 1_000_000,
                "reason": reason,
                "message": message,
                "outputs": describe_logs(str(folder)),
                "log_tail": layout.log_tail(str(folder)),
            }
            with contextlib.suppress(OSError):  # a full disk: the same is found again at the next look
                layout.write_json(path, status)
        return status

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """The last MiB of ``stdout`` or ``stderr`` as it is now."""
        if name not in ("stdout", "stderr"):
            return None
        return await asyncio.to_thread(log_end, self._folder(job_id, number), f"{layout.LOG}/{name}")

    # -- end ------------------------------------------------------------------------------------------------------

    async def kill(self, job_id: str, number: int) -> None:
        """Stop the attempt, whether it is being brought, fetches its inputs, or runs."""
        key = job_id, number
        await self._stop_bringing(key)
        folder = self._folder(*key)
        if not folder.exists() or key in self._killing:
            return
        if layout.claim(str(folder)):  # an agent that is just starting finds that and ends
            await asyncio.to_thread(self._conclude, folder, Reason.ABORTED, "Stopped before it started.")
            self._change.set()
        elif signal_agent(folder, signal.SIGTERM):
            self._killing[key] = asyncio.create_task(self._insist(key, folder))

    async def _insist(self, key: Key, folder: Path) -> None:
        """Kill an agent that does not end by itself."""
        try:
            began = time.monotonic()
            while layout.agent_pid(str(folder)) is not None:
                status = layout.read_json(str(folder / layout.STATUS)) or {}
                patience = STAGE_OUT_MAX if status.get("step") == "stage-out" else KILL_AFTER
                if time.monotonic() - began > patience:
                    signal_agent(folder, signal.SIGKILL)
                await asyncio.sleep(0.2)
        finally:
            del self._killing[key]
            self._change.set()

    async def _stop_bringing(self, key: Key) -> None:
        task = self._bringing.get(key)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def collect(self, observation: Observation, attempt: Attempt | None = None) -> Collected:
        """Put results and logs into the depot, as the agent described them or not at all."""
        folder = self._folder(observation.job_id, observation.number)
        results: list[Result] = []
        logs: list[Result] = []
        problem = ""
        for output in observation.outputs:
            is_log = output.source.startswith(f"{layout.LOG}/")
            key = (log_key if is_log else result_key)(observation.job_id, output.id)
            try:
                await self._store(folder, output, key)
            except NotFound as error:
                log.warning("a file is lost", job=observation.job_id, attempt=observation.number, error=error.message)
                problem = problem or ("" if is_log else error.message)
                continue
            (logs if is_log else results).append(Result(output.id, key, output.media_type, output.size, output.sha256))
        return Collected(tuple(results), tuple(logs), observation.log_tail, problem)

    async def _store(self, folder: Path, output: Output, key: str) -> None:
        """Put one file into the depot, through one descriptor; `NotFound` if it is not what the agent described."""
        expected = Stored(output.size, output.sha256)
        try:
            check_key(key)
            with confined.regular(str(folder), output.source) as file:
                content = confined.Content(file, os.fstat(file).st_size)
                await self.depot.put(key, chunks_of(content), max_size=content.size, expected=expected)
        except FileNotFoundError:
            if not await self._is_stored(key, expected):
                raise NotFound(f"The file {output.id!r} is no longer at the site.") from None
        except (UsageError, confined.Changed):
            raise NotFound(f"The file {output.id!r} has changed since the command ended.") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise NotFound(f"The file {output.id!r} is not what the agent saw: {why}.") from None

    async def _is_stored(self, key: str, expected: Stored) -> bool:
        """Whether an earlier call has put the very same bytes."""
        digest = hashlib.sha256()
        size = 0
        try:
            async for chunk in self.depot.read(key):
                digest.update(chunk)
                size += len(chunk)
        except NotFound:
            return False
        return Stored(size, digest.hexdigest()) == expected

    async def forget(self, job_id: str, number: int) -> None:
        """Remove the work folder and whatever still runs in it."""
        key = job_id, number
        await self._stop_bringing(key)
        folder = self._folder(*key)
        if not folder.exists():
            return
        layout.claim(str(folder))
        await self._end_agent(folder)
        moved = self.work / f".trash-{folder.name}-{time.time_ns()}"
        # Moved away first: an agent that starts late finds no folder, never a half-empty one.
        with self._disk(), contextlib.suppress(FileNotFoundError):
            folder.rename(moved)
            await asyncio.to_thread(remove, moved)

    async def _end_agent(self, folder: Path) -> None:
        """Wait for an agent that has said its last word; kill one that has not."""
        status = layout.read_json(str(folder / layout.STATUS)) or {}
        patience = time.monotonic() + (2 if status.get("state") in ENDED else 0)
        killed = False
        while layout.agent_pid(str(folder)) is not None:
            if time.monotonic() >= patience:
                killed = signal_agent(folder, signal.SIGKILL) or killed
            await asyncio.sleep(0.01)
        if killed:
            await asyncio.to_thread(kill_leftovers, folder)
        await asyncio.to_thread(self.groups.remove, folder.name)
