"""The attempts of a site of this machine, as their work folders show them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uws_service.agent import folder as layout
from uws_service.agent.outputs import describe_logs
from uws_service.domain.attempt import Observation, Reason, Seen
from uws_service.sites.local.processes import Key, kill_leftovers, observation

ENDED = (Seen.SUCCEEDED, Seen.FAILED)


class AttemptFolders:
    """The work folders of the attempts.

    Parameters
    ----------
    work
        The folder that holds them.
    kill_group
        Kills all that is in the cgroup of a work folder, by the folder's name.
    """

    def __init__(self, work: Path, kill_group: Callable[[str], object]) -> None:
        self.work = work
        self.kill_group = kill_group
        self._conclusion = threading.Lock()

    def path(self, job_id: str, number: int) -> Path:
        """Return the work folder of an attempt."""
        return self.work / f"{job_id}-{number}"

    def items(self) -> list[tuple[Key, Path]]:
        """Return the attempts that have a work folder."""
        folders = []
        for path in self.work.iterdir():
            job_id, dash, number = path.name.rpartition("-")
            if dash and job_id and number.isdecimal() and not job_id.startswith("."):
                folders.append(((job_id, int(number)), path))
        return folders

    def observe(self, expected: set[Key]) -> list[Observation]:
        """Return what the work folders say.

        ``expected`` are those that are being delivered, or whose agent has just been started.
        """
        observations = []
        for key, folder in self.items():
            if not layout.is_claimed(str(folder)):
                if key in expected:
                    observations.append(Observation(*key, Seen.STARTING))
                continue  # a service died before it handed this over: `submit` does it again
            alive = layout.agent_pid(str(folder)) is not None  # before the status: what it then says is the last word
            status = layout.read_json(str(folder / layout.STATUS)) or {"state": Seen.STARTING}
            if not alive and status.get("state") not in ENDED:
                status = self.conclude(folder, Reason.AGENT_LOST, "The process that looked after the job is gone.")
            if status:
                observations.append(observation(key, status))
        return observations

    def conclude(self, folder: Path, reason: Reason, message: str) -> dict[str, Any]:
        """Write the last word in place of an agent, unless there is one; empty if the folder is gone meanwhile."""
        path = str(folder / layout.STATUS)
        with self._conclusion:
            status = layout.read_json(path) or {}
            if status.get("state") in ENDED or not folder.exists():
                return status
            layout.claim(str(folder))
            if reason is Reason.AGENT_LOST:
                self.kill_group(folder.name)
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
