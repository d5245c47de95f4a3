"""Entry of the agent in a job of a batch system.

``python3 -I agent.pyz ORDER``, with Python 3.9 or later and nothing else.

One process from the claim to the report: it claims the attempt with a ticket, brings the inputs, runs the command under
its limits, hands the results over and says how the command ended. ``ORDER`` is a file with the ticket and what only the
site knows; it is removed before anything else happens, and the token that the ticket is exchanged for is in this
process's memory alone, which the kernel keeps from other processes of the same user.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from uws_service.agent import confined, outputs, processes
from uws_service.agent import folder as layout
from uws_service.agent.container import Container
from uws_service.agent.environment import Folders, command_environment
from uws_service.agent.live_logs import LiveLogs
from uws_service.agent.messenger import Messenger
from uws_service.agent.supervisor import STOP, Attempt, Ended, Progress, Status, interruptible, usage_of
from uws_service.agent.upstream import Refused, SecretUpstream, Unreachable
from uws_service.agent.workplace import hold_folder, make_work_folder, remove_work_folder

CLAIM_SECONDS = 1800.0
"""So long the claim is tried; after that the job ends, so that no place is held for a service that is away."""
MAX_PAUSE_SECONDS = 10.0
SCRATCH_VARIABLES = ("_CONDOR_SCRATCH_DIR", "SLURM_TMPDIR", "TMPDIR")
"""Where batch systems say which folder a job has for itself."""
_PR_SET_DUMPABLE = 4

UID = secrets.token_hex(8)
"""Names this start of the agent: a second start of the same job is somebody else, and is refused."""


def say(text: str) -> None:
    """Write a line for the operator into the batch job's log."""
    print(text, file=sys.stderr, flush=True)


def insist(action: str, ask: Callable[[], Any], seconds: float = float("inf")) -> Any:
    """Ask until the service answers.

    `Refused` if its answer is no, `Unreachable` if there is none for so many seconds.
    """
    pause = 0.2
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Unreachable as error:
            if time.monotonic() >= end:
                raise
            say(f"{action}: {error}; again in {pause:.1f} s")
            time.sleep(pause)
            pause = min(MAX_PAUSE_SECONDS, pause * 1.7)


class ForwardedStatus(Status):
    """Passes on what there is to tell of a running command; a file of it would be read by nobody."""

    def __init__(self, work: str, messenger: Messenger) -> None:
        super().__init__(work, "")
        self.messenger = messenger

    def write(self, **changes: Any) -> None:
        self.content.update(changes)
        if "progress" in changes:
            self.messenger.tell(changes["progress"], changes["progress_text"])


class BatchAttempt(Attempt):
    """An attempt whose inputs come from the service, and whose results go there.

    Parameters
    ----------
    work
        Its work folder.
    order
        What the site says: ``environment``, ``processes``, ``container``.
    answer
        What the service said to the claim.
    """

    def __init__(
        self,
        work: str,
        order: Mapping[str, Any],
        answer: Mapping[str, Any],
        upstream: SecretUpstream,
        messenger: Messenger,
    ) -> None:
        run = answer["run"]
        passed = {name: os.environ[name] for name in run["passed"] if name in os.environ}
        spec = {
            **run,
            "environment": {**run["environment"], **passed},
            "inputs": answer["inputs"],
            "away": answer.get("away", ()),
            "results": answer["results"],
            "max_output": answer["max_output"],
            "fetch": answer["fetch"],
            "bell": "",
            "base_environment": {"PATH": os.environ.get("PATH") or os.defpath, **order.get("environment", {})},
            "processes": order.get("processes", 1000),
        }
        super().__init__(work, spec, {"tokens": answer["data"]["tokens"], "command": answer["data"]["command"]})
        self.parameters: str = answer["parameters"]
        self.problem: str = answer["data"].get("problem") or ""
        self.upstream = upstream
        self.status = ForwardedStatus(work, messenger)
        self.container = Container.of(order.get("container"), work)
        self.programs: Mapping[str, str] = order.get("commands", {})
        self.grace = float(order.get("grace", self.grace))
        self.stage_out_seconds = float(order.get("stage_out", 600.0))
        self.max_log = int(order.get("max_log", 1 << 26))
        progress_folder = os.path.join(work, layout.PROGRESS)
        self.progress = Progress(os.path.join(progress_folder, layout.PROGRESS))
        self.folders = Folders(self.input, self.output, self.scratch, self.progress.path)
        if self.container is not None:
            self.folders = self.container.folders
        self.reported = False
        self._stage_out_end = 0.0

    # -- stage-in --------------------------------------------------------------------------------------------------

    def _stage_in(self) -> None:
        with interruptible(self.spec["duration"]):
            if self.problem:
                raise Ended("StageIn", self.problem)
            for index, item in enumerate(self.spec["inputs"]):
                self._bring(index, item)
        with open(os.path.join(self.input, "parameters.json"), "w", encoding="utf-8") as file:
            file.write(self.parameters)
        if self.secrets.get("command"):
            layout.write_token(self.input, self.secrets["command"])
        self.secrets = {}
        self.bytes_in = outputs.measure([self.input], 0)[0]

    def _bring(self, index: int, item: Mapping[str, Any]) -> None:
        """Bring one input.

        From the site's own storage, from its URL, or from the service.
        """
        path = os.path.normpath(os.path.join(self.input, item["path"]))
        if not path.startswith(self.input + "/"):
            raise Ended("StageIn", f"{item['name']}: the path {item['path']!r} leaves the input folder.")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            if item.get("mount"):
                self._take(item, path)
            elif item["url"]:
                self._fetch(item)
            else:
                insist(item["name"], lambda: self.upstream.download(f"inputs/{index}", path))
        except Refused as error:
            raise Ended("StageIn", f"{item['name']}: {error}") from None
        except OSError as error:
            raise Ended("StageIn", f"{item['name']}: {error.strerror or error}") from None

    def _take(self, item: Mapping[str, Any], path: str) -> None:
        """Take a file of a storage area that the machine has; in a container a link would lead nowhere."""
        place = f"the storage area {item['mount'].get('area')}"
        volume = os.path.realpath(item["mount"]["volume"])
        source = os.path.realpath(os.path.join(volume, item["mount"]["path"]))
        size = os.stat(source).st_size
        if not source.startswith(volume + "/") or not os.path.isfile(source):
            raise Ended("StageIn", f"{item['name']} is no file at {place}.")
        if item.get("size") is not None and size != item["size"]:
            raise Ended("StageIn", f"{item['name']} has {size} bytes instead of {item['size']} at {place}.")
        if self.container is not None:
            shutil.copyfile(source, path)
        else:
            os.symlink(source, path)

    # -- the command -----------------------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        words = super()._words()
        if self.container is not None:
            return self.container.words(words, self.spec["mounts"])
        return [self.programs.get(words[0], words[0]), *words[1:]]

    def _environment(self) -> dict[str, str]:
        if self.container is None:
            return super()._environment()
        outside = {"HOME": os.environ.get("HOME", self.scratch), **self.spec["base_environment"]}
        inside = command_environment(
            self.spec["job_id"],
            self.folders,
            self.spec["environment"],
            token_variable=self.spec.get("token_variable") or "",
        )
        return self.container.environment(outside, inside)

    def _judge(self, exit_code: int) -> None:
        if exit_code and self.container is not None:
            problem = self.container.problem(exit_code, layout.log_tail(self.work))
            if problem:
                raise Ended("Image", problem, exit_code)
        super()._judge(exit_code)

    # -- stage-out -------------------------------------------------------------------------------------------------

    def _collect(self, incomplete: set[outputs.Identity] | None = None) -> list[dict[str, Any]]:
        def deliver(result: Mapping[str, Any], open_file: outputs.Found) -> bool:
            try:
                self._send(f"outputs/{result['id']}", open_file)
            except Refused as error:
                raise outputs.StageOutError(f"{result['id']}: {error}") from None
            return True

        return outputs.collect_results(self.work, self.spec["results"], incomplete=incomplete, deliver=deliver)

    def _send(self, path: str, open_file: outputs.Found) -> bool:
        """Hand a file over, while there is time for that."""
        insist(
            path,
            lambda: self.upstream.upload(path, open_file.content(), open_file.sha256),
            self.stage_out_end() - time.monotonic(),
        )
        return True

    def stage_out_end(self) -> float:
        """Return until when (monotonic) the service is asked to take what there is."""
        self._stage_out_end = self._stage_out_end or time.monotonic() + self.stage_out_seconds
        return self._stage_out_end

    def _send_logs(self) -> list[dict[str, Any]]:
        logs = []
        for name, path in (("stdout", layout.STDOUT), ("stderr", layout.STDERR)):
            fields = {"id": name, "media_type": "text/plain"}
            shorten(os.path.join(self.work, path), self.max_log)
            with contextlib.suppress(outputs.StageOutError, Refused):
                entry = outputs.describe(
                    self.work,
                    os.path.join(self.work, path),
                    fields,
                    deliver=lambda log, open_file: self._send(f"logs/{log['id']}", open_file),
                )
                logs += [entry] if entry else []
        return logs

    def _finish(
        self, state: str, results: list[dict[str, Any]], *, exit_code: int | None, reason: str | None, message: str
    ) -> None:
        ended = time.time_ns() // 1_000_000
        usage = usage_of(self, [])
        names = ("id", "media_type", "size", "sha256")
        report = {
            "outputs": [{name: result[name] for name in names} | {"settled": True} for result in results],
            "logs": [{name: entry[name] for name in names} for entry in self._send_logs()],
            "reason": reason,
            "exit_code": exit_code,
            "message": message,
            "started": self.status.content.get("started"),
            "ended": ended,
            "error": self.error,
            "warning": " ".join(self.warnings)[:1000],
            "tail": layout.log_tail(self.work),
            **{name: usage[name] for name in ("cpu", "peak_memory", "bytes_in", "bytes_moved")},
        }
        try:
            left = self.stage_out_end() - time.monotonic()
            insist("the report", lambda: self.upstream.post("report", report), left)
        except Refused as error:
            say(f"the report was refused: {error}")
        self.reported = True
        say(f"{state}, reason {reason}, exit code {exit_code}: {message}")


def shorten(path: str, limit: int) -> None:
    """Leave the last bytes of a log that is longer, below a line that says so."""
    with contextlib.suppress(OSError):
        size = os.stat(path).st_size
        if size <= limit:
            return
        tail = confined.read_tail(os.path.dirname(path), os.path.basename(path), limit)
        with open(path, "wb") as file:
            file.write(b"[%d bytes are left out]\n" % (size - len(tail)) + tail)


def claim(upstream: SecretUpstream, heartbeat: float) -> Mapping[str, Any]:
    """Claim the attempt, and exchange the ticket for a token of this start alone.

    Raises
    ------
    Refused
        The attempt is not wanted any more, or another start of the job has claimed it.
    Unreachable
        There was no answer for a long time.
    """
    body = {"uid": UID, "heartbeat": heartbeat, "host": socket.gethostname()}
    answer: Mapping[str, Any] = insist("the claim", lambda: upstream.post("claim", body), CLAIM_SECONDS)
    upstream.exchange(answer)
    return answer


def read_order(path: str) -> Mapping[str, Any]:
    """Return what the site says, and remove the file: it holds the ticket.

    OSError, ValueError for a file that makes no sense.
    """
    import json

    try:
        value = json.loads(confined.read_small(os.path.dirname(path) or ".", os.path.basename(path)))
    finally:
        os.unlink(path)
    if not isinstance(value, dict) or not isinstance(value.get("ticket"), str):
        raise ValueError("the order has no ticket")
    return value


def run(order: Mapping[str, Any], work: str) -> int:
    """Run the attempt that an order's ticket is for."""
    upstream = SecretUpstream(order["url"], order["ticket"], order.get("ca"))
    heartbeat = float(order.get("heartbeat", 30.0))
    try:
        with interruptible(0):
            answer = claim(upstream, heartbeat)
    except Refused as error:
        say(f"not wanted: {error}")
        return 0
    except Unreachable as error:
        say(f"the service can't be reached: {error}")
        return 1
    except Ended:
        say("stopped before the claim")
        return 1
    messenger = Messenger(upstream, heartbeat)
    messenger.start()
    live_log = float(order.get("live_log", 0.0))
    logs = LiveLogs(upstream, work, live_log)
    if live_log:
        logs.start()
    attempt = BatchAttempt(work, order, answer, upstream, messenger)
    try:
        attempt.run()
    except Unreachable as error:
        say(f"the results could not be handed over: {error}")
        return 1
    except Exception as error:  # a fault here or of the machine, such as a full disk: say so while it can be said
        attempt._kill_all()
        if not attempt.reported:
            attempt._finish("FAILED", [], exit_code=None, reason="AgentLost", message=repr(error))
        raise
    finally:
        logs.stop()
        messenger.stop()
    return 0


def main(arguments: list[str]) -> int:
    """Run one attempt.

    0 unless the service heard nothing of its end. With ``--probe FILE`` only look at the node.
    """
    if arguments[0] == "--probe":
        from uws_service.agent import probe

        return probe.main(arguments[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, signal.SIGCHLD))
    os.umask(0o077)
    # Jobs of one user of the batch system run as the same user: none may read this process's memory or environment.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    order = read_order(arguments[0])
    processes.become_reaper()
    above = order.get("work") or next((os.environ[name] for name in SCRATCH_VARIABLES if os.environ.get(name)), "/tmp")
    work, lock = make_work_folder(above, UID)
    hold_folder(os.path.dirname(os.path.abspath(arguments[0])))
    try:
        return run(order, work)
    finally:
        remove_work_folder(work, lock)
