"""A cluster by Slurm's own commands, on this machine or on a login node by ssh."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.sites.executor import NotNow
from uws_service.sites.slurm.client import refusal
from uws_service.sites.slurm.jobs import Document
from uws_service.sites.slurm.settings import SlurmSite
from uws_service.sites.slurm.submission import sbatch_words
from uws_service.subprocesses import kill

TIMEOUT_SECONDS = 60.0
"""A command without slurmctld gives up after ten seconds by itself."""
AT_ONCE = 4
"""So many commands are under way at a time: each is a process, and a load for slurmctld."""
AWAY = ("unable to contact slurm controller", "socket timed out", "connection refused", "unexpected message received")
"""Parts of what commands say if slurmctld is away."""
NOT_THERE = "invalid job id"


class CommandProblem(Exception):
    """A command failed.

    The text is what it said.
    """


class CommandClient:
    """Slurm's commands.

    Parameters
    ----------
    site
        Its words before each command, and who may use the cluster.
    """

    def __init__(self, site: SlurmSite) -> None:
        self.site = site
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Do nothing: each command is a process of its own."""

    async def _run(self, *words: str, stdin: str = "") -> str:
        """Return what a command says.

        Raises
        ------
        CommandProblem
            It failed.
        NotNow
            It can't be run, or slurmctld does not answer it.
        """
        login = self.site.login
        is_remote = bool(login) and login[0].rpartition("/")[2] == "ssh"  # whose other side has a shell
        command = [*login, *(shlex.quote(word) if is_remote else word for word in words)]
        async with self._gate:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotNow(f"site {self.site.name}: {command[0]}: {error.strerror}", sent=False) from None
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    out, err = await process.communicate(stdin.encode())
            except TimeoutError:
                raise NotNow(f"site {self.site.name}: {words[0]} did not end in {TIMEOUT_SECONDS:.0f} s") from None
            finally:
                if process.returncode is None:
                    kill(process)
                    await process.wait()
        if process.returncode:
            said = err.decode("utf-8", "replace").strip() or f"exit code {process.returncode}"
            if any(part in said.lower() for part in AWAY):
                raise NotNow(f"site {self.site.name}: {words[0]}: {said.splitlines()[-1]}")
            raise CommandProblem(said)
        return out.decode("utf-8", "replace")

    async def _run_now(self, *words: str) -> str:
        try:
            return await self._run(*words)
        except CommandProblem as problem:
            raise NotNow(f"site {self.site.name}: {words[0]}: {problem}") from None

    async def _documents(self, *words: str) -> list[Document]:
        text = await self._run(*words)
        try:
            return list(json.loads(text).get("jobs", ()))
        except (ValueError, AttributeError):
            raise NotNow(f"site {self.site.name}: {words[0]} printed no JSON") from None

    async def ping(self) -> str:
        """Return the cluster's name and release."""
        release = (await self._run_now("sinfo", "--version")).strip()
        await self.states()
        return release

    async def submit(self, description: Mapping[str, Any], script: str) -> int:
        """Create a job and return its id."""
        try:
            answer = await self._run(*sbatch_words(description), stdin=script)
        except CommandProblem as problem:
            raise refusal(self.site.name, str(problem).splitlines()[-1]) from None
        job_id = answer.strip().partition(";")[0]
        if not job_id.isdigit():
            raise NotNow(f"site {self.site.name}: sbatch gave no job id")
        return int(job_id)

    async def states(self) -> Mapping[int, frozenset[str]]:
        """Return the states of all jobs of the cluster."""
        lines = (await self._run_now("squeue", "-h", "-a", "-t", "all", "-o", "%A %T")).splitlines()
        pairs = [line.split() for line in lines]
        return {int(pair[0]): frozenset(pair[1:]) for pair in pairs if pair and pair[0].isdigit()}

    async def job(self, job_id: int) -> Document | None:
        """Return a job; None if there is none."""
        try:
            return next(iter(await self._documents("scontrol", "show", "job", str(job_id), "--json")), None)
        except CommandProblem as problem:
            if NOT_THERE in str(problem).lower():
                return None
            raise NotNow(f"site {self.site.name}: scontrol: {problem}") from None

    async def jobs(self) -> Sequence[Document]:
        """Return all jobs of the cluster."""
        try:
            return await self._documents("squeue", "-a", "-t", "all", "--json")
        except CommandProblem as problem:
            raise NotNow(f"site {self.site.name}: squeue: {problem}") from None

    async def release(self, job_id: int) -> None:
        """Let a held job run."""
        await self._run_now("scontrol", "release", str(job_id))

    async def cancel(self, job_id: int) -> None:
        """Ask a job to end."""
        try:
            await self._run("scancel", str(job_id))
        except CommandProblem as problem:
            if NOT_THERE not in str(problem).lower() and "already" not in str(problem).lower():
                raise NotNow(f"site {self.site.name}: scancel: {problem}") from None

    async def history(self, job_id: int) -> Sequence[Document]:
        """Return the accounting's records of an id."""
        try:
            return await self._documents("sacct", "-D", "-j", str(job_id), "-S", "now-30days", "--json")
        except CommandProblem:
            return []
