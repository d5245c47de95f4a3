"""A kind of site that runs jobs as ``nice`` processes on this machine.

Everything about an attempt lies in its work folder, so a restart of the service only has to read the folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

import uws_service.agent
from uws_service.agent import folder as layout
from uws_service.domain.attempt import Attempt, Launch, Observation, Reason, Seen
from uws_service.domain.errors import ConfigurationError
from uws_service.sites.executor import Collected, Executor, NotNow
from uws_service.sites.kind import Kind, SiteParts
from uws_service.sites.local import collection, processes, workfolder
from uws_service.sites.local.search_path import search_paths
from uws_service.sites.settings import SiteSettings
from uws_service.store import WorkFolder

AGENT = Path(uws_service.agent.__file__).with_name("local.py")


class NiceSite(SiteSettings):
    """The settings of such a site: those that every site has, and one more."""

    kind: Literal["nice"] = "nice"
    niceness: int = Field(10, ge=0, le=19, description="How nice jobs are to other processes: 0 not at all, 19 very.")


class NiceExecutor(Executor):
    """Runs each attempt under the service's own agent, which is started by ``nice``."""

    streams = ("stdout", "stderr")

    def __init__(self, settings: NiceSite, parts: SiteParts) -> None:
        self.site, self.capacity, self.niceness = settings.name, settings.slots, settings.niceness
        self.work = (parts.work / settings.name).resolve()
        self.depot, self.data = parts.depot, parts.data
        self.surroundings = {
            "base_environment": search_paths(sys.executable),
            "fetch": parts.fetch.model_dump(mode="json"),
            "bell": str(self.work / ".bell"),  # nobody listens: this site is looked at every second
        }
        self._agents: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._lock = -1

    async def start(self) -> None:
        """Take the folder of this site's work folders, which one process at a time may use."""
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.work / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await self.stop()
            raise ConfigurationError(f"site {self.site}: another process runs jobs in {self.work}.") from None
        for trash in self.work.glob(".trash-*"):
            await asyncio.to_thread(processes.remove, trash)
        self.identity = WorkFolder(processes.identity_of(self.work / ".identity"), socket.gethostname(), str(self.work))

    async def stop(self) -> None:
        """Let go of the folder. The agents and their commands go on."""
        os.close(self._lock)

    async def submit(self, launch: Launch) -> None:
        """Make the work folder and start an agent in it. A second agent in the same folder ends by itself."""
        key, folder = (launch.job_id, launch.number), self._folder(launch.job_id, launch.number)
        if key in self._agents or layout.is_claimed(str(folder)):
            return
        try:
            if not (folder / layout.SPEC).exists():  # written last: without it no agent was started here
                await workfolder.place(folder, launch, self.depot, self.surroundings)
            secrets = await self.data.held(launch.job_id) if self.data is not None else {}
            self._agents[key] = self._start_agent(folder, json.dumps(secrets or {}).encode())
        except OSError as error:
            raise NotNow(f"site {self.site}: {error}") from None

    def _start_agent(self, folder: Path, secrets: bytes) -> subprocess.Popen[bytes]:
        command = ["nice", f"-n{self.niceness}", sys.executable, "-I", "-S", str(AGENT), str(folder)]
        with (folder / "agent.log").open("ab") as log, open(os.memfd_create("secrets"), "w+b") as stdin:
            stdin.write(secrets)
            stdin.seek(0)
            environment = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
            return subprocess.Popen(
                command, stdin=stdin, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    async def observe(self) -> list[Observation]:
        """Read the work folders."""
        return await asyncio.to_thread(self._read_folders)

    def _read_folders(self) -> list[Observation]:
        observations = []
        for folder in self.work.glob("[!.]*"):
            job_id, _, number = folder.name.rpartition("-")
            key = job_id, int(number)
            agent = self._agents.get(key)
            ended = agent is not None and agent.poll() is not None
            alive = layout.agent_pid(str(folder)) is not None  # before the status, which is final if it is not alive
            seen = processes.observation(key, layout.read_json(str(folder / layout.STATUS)) or {})
            if not layout.is_claimed(str(folder)):
                if agent is None:
                    continue  # the service ended before it started an agent: `submit` is called again
                lost = ended
            else:
                lost = not alive and seen.seen not in (Seen.SUCCEEDED, Seen.FAILED)
            if lost:
                seen = replace(seen, seen=Seen.FAILED, reason=Reason.AGENT_LOST, message="The job's agent is gone.")
            observations.append(seen)
        return observations

    async def kill(self, job_id: str, number: int) -> None:
        """Ask the agent to end the command, which it does softly first and then by force."""
        folder = self._folder(job_id, number)
        if layout.claim(str(folder)):  # no agent has begun, and from now on none does
            status = {"state": Seen.FAILED, "reason": Reason.ABORTED, "message": "Stopped before its start."}
            layout.write_json(str(folder / layout.STATUS), status)
        else:
            processes.signal_agent(folder, signal.SIGTERM)

    async def collect(self, observation: Observation, attempt: Attempt) -> Collected:
        """Put results and logs into the depot."""
        return await collection.collect(self._folder(observation.job_id, observation.number), observation, self.depot)

    async def forget(self, job_id: str, number: int) -> None:
        """Kill what still runs, and remove the work folder."""
        await asyncio.to_thread(self._remove, self._folder(job_id, number), self._agents.pop((job_id, number), None))

    def _remove(self, folder: Path, agent: subprocess.Popen[bytes] | None) -> None:
        layout.claim(str(folder))
        while processes.signal_agent(folder, signal.SIGKILL):
            time.sleep(0.01)
        if agent is not None:
            agent.wait()
        processes.kill_leftovers(folder)
        trash = folder.with_name(f".trash-{folder.name}")  # moved first: nobody finds half a work folder
        with contextlib.suppress(FileNotFoundError):
            folder.rename(trash)
        processes.remove(trash)

    async def read_log(self, job_id: str, number: int, name: str) -> bytes | None:
        """Return the end of a log of a running command."""
        return await asyncio.to_thread(processes.log_end, self._folder(job_id, number), f"{layout.LOG}/{name}")

    def _folder(self, job_id: str, number: int) -> Path:
        return self.work / f"{job_id}-{number}"


NICE = Kind("nice", NiceSite, NiceExecutor, leased=False)
