"""One attempt from its beginning to its end.

Stage-in, the command under its limits, stage-out, and what to tell.

Single-threaded. Signals are blocked and waited for, so nothing happens between two lines that is not written here;
only during stage-in SIGTERM interrupts, since a download may take long.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from uws_service.agent import cgroup, confined, digests, error_file, outputs, processes
from uws_service.agent import folder as layout
from uws_service.agent.environment import Folders, command_environment

if TYPE_CHECKING:
    from uws_service.agent.prepared import PreparedCommand

STOP = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 2.0
"""Seconds between SIGTERM and SIGKILL for the command."""
WATCH_PAUSE_SECONDS = 0.1
"""Seconds between two looks at memory and progress."""
MAX_PROCESSES = 1000
DISK_PAUSE_SECONDS = 0.5
"""Seconds between two looks at the size of the output; longer if looking takes long."""
PROGRESS_PAUSE_SECONDS = 0.5
"""At most one report of progress in so many seconds."""


class Stopped(BaseException):
    """SIGTERM came during stage-in.

    No `Exception`, so that no handler on the way can swallow it.
    """


class Ended(Exception):
    """The attempt did not end well."""

    def __init__(self, reason: str, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.exit_code = reason, message, exit_code


class Status:
    """What ``status.json`` says.

    Each `write` replaces it and rings the service's bell.
    """

    def __init__(self, work: str, bell: str) -> None:
        self.work, self.bell = work, bell
        self.content: dict[str, Any] = {"state": "STARTING", "step": "stage-in", "outputs": [], "usage": {}}

    def write(self, **changes: Any) -> None:
        self.content.update(changes)
        layout.write_json(os.path.join(self.work, layout.STATUS), self.content)
        layout.ring(self.bell)


class Progress:
    """Reads the last line that the command wrote to ``UWS_PROGRESS_FILE``: a fraction and a text."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._size_read = -1

    def read(self) -> tuple[float, str] | None:
        """Return fraction and text, if there is news.

        The fraction is from 0 to 1.
        """
        try:
            # The command may have put anything there: a named pipe would block, a link would lead elsewhere.
            with confined.regular(*os.path.split(self.path)) as file:
                size = os.fstat(file).st_size
                if size == self._size_read:
                    return None
                self._size_read = size
                tail = os.pread(file, 4096, max(0, size - 4096))
        except OSError:
            return None
        for line in reversed(tail.split(b"\n")[:-1]):  # what follows the last line end is not complete
            fraction, _, text = line.strip().partition(b" ")
            with contextlib.suppress(ValueError):
                value = float(fraction)
                if value == value:
                    return min(1.0, max(0.0, value)), layout.clean(text, 200).strip()
        return None


class Attempt:
    """One attempt and its processes.

    ``prepared`` is a child that may become the command.
    """

    def __init__(
        self,
        work: str,
        spec: Mapping[str, Any],
        secrets: Mapping[str, Any] | None = None,
        prepared: PreparedCommand | None = None,
    ) -> None:
        self.work, self.spec = work, spec
        self.secrets = secrets or {}
        self.prepared = prepared
        self.status = Status(work, spec["bell"])
        self.input = os.path.join(work, layout.INPUT)
        self.output = os.path.join(work, layout.OUTPUT)
        self.scratch = os.path.join(work, layout.SCRATCH)
        self.progress = Progress(os.path.join(work, layout.PROGRESS))
        self.folders = Folders(self.input, self.output, self.scratch, self.progress.path)
        self.command = 0
        self.code: int | None = None  # as `os.waitpid` gives it
        self.peak = 0
        self.bytes_in = 0
        self.bytes_moved = 0
        self.staged: list[dict[str, Any]] = []  # what was fetched, with digests
        self.warnings: list[str] = []  # what was wrong with replicas, although others were good
        self.error: dict[str, str] | None = None  # what the command itself says went wrong
        self.incomplete: set[outputs.Identity] = set()
        self.began = 0.0
        self.group: str | None = spec.get("group_folder")
        self.grace = GRACE_SECONDS

    def run(self) -> None:
        """Run up to the final status."""
        try:
            self._stage_in()
            self._start()
            exit_code = self._watch()
            self._kill_all()
            self._judge(exit_code)
            self.status.write(step="stage-out")
            results = self._collect()
            self._finish("SUCCEEDED", results, exit_code=exit_code, reason=None, message="")
        except Ended as end:
            results = []
            self._kill_all()
            if end.reason in ("Aborted", "Deadline"):
                self.status.write(step="stage-out")
                results = self._collect(incomplete=self.incomplete)
            self._finish("FAILED", results, exit_code=end.exit_code, reason=end.reason, message=end.message)
        except outputs.StageOutError as error:
            self._finish("FAILED", [], exit_code=0, reason="StageOut", message=str(error))

    def _collect(self, incomplete: set[outputs.Identity] | None = None) -> list[dict[str, Any]]:
        """Return the results that are there; see `outputs.collect_results`."""
        return outputs.collect_results(self.work, self.spec["results"], incomplete=incomplete)

    def _stage_in(self) -> None:
        """Fetch the inputs that have a URL; the others lie there already."""
        remote = [item for item in self.spec["inputs"] if item["url"] and not item.get("mount")]
        if remote:
            self.status.write()
            with interruptible(self.spec["duration"]):
                for item in remote:
                    self._fetch(item)
        if self.secrets.get("command"):
            layout.write_token(self.input, self.secrets["command"])
        self.secrets = {}
        self.bytes_in = outputs.measure([self.input], 0)[0]

    def _fetch(self, item: Mapping[str, Any]) -> None:
        from uws_service.agent.fetch import FetchError, Policy  # TLS and HTTP: slow to import
        from uws_service.agent.replicas import fetch_input

        policy = self.spec["fetch"]
        path = os.path.join(self.input, item["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            allowed = Policy(
                allow_private=policy["allow_private"],
                allow_hosts=tuple(policy["allow_hosts"]),
                timeout=policy["timeout"],
            )
            self.warnings += fetch_input(item, path, allowed, self.secrets.get("tokens") or {})
            if item["path"] in self.spec.get("away", ()):
                self.bytes_moved += os.stat(path).st_size
            if digests.is_to_be_described(item):
                self.staged.append(digests.described(item, path))
        except FetchError as error:
            raise Ended("StageIn", f"{item['name']}: {error}") from None
        except OSError as error:
            raise Ended("StageIn", f"{item['name']}: {error.strerror or error}") from None

    def _start(self) -> None:
        spec = self.spec
        if signal.sigtimedwait(STOP, 0):
            raise Ended("Aborted", "Stopped before the command started.")
        environment = self._environment()
        command = self._words()
        start = processes.spawn
        if self.prepared is not None and self.prepared.takes(command):
            start = self.prepared.start
        self.began = time.monotonic()
        try:
            self.command = start(
                command,
                environment,
                folder=self.scratch,
                stdout=os.path.join(self.work, layout.STDOUT),
                stderr=os.path.join(self.work, layout.STDERR),
                # One byte more than may be: a file that the kernel stopped there is seen to be too large.
                file_size=max(spec["max_output"], spec["disk"]) + 1 if spec["max_output"] else 0,
                group=self.group,
            )
        except processes.CannotStart as error:
            raise Ended("Command", str(error)) from None
        self.status.write(state="RUNNING", step="command", started=_now())

    def _words(self) -> list[str]:
        """Return the command with the names of its folders."""
        return [self.folders.expand(word) for word in self.spec["command"]]

    def _environment(self) -> dict[str, str]:
        """Return what the command gets; nothing of the service's own environment."""
        return command_environment(
            self.spec["job_id"],
            self.folders,
            self.spec["environment"],
            token_variable=self.spec.get("token_variable") or "",
            base=self.spec["base_environment"],
        )

    def _watch(self) -> int:
        """Return the command's exit code once it has ended; raise `Ended` if a limit or a signal ends it."""
        spec = self.spec
        deadline = self.began + spec["duration"] if spec["duration"] else float("inf")
        look_at_disk = self.began + WATCH_PAUSE_SECONDS
        report = 0.0
        while True:
            signal_info = signal.sigtimedwait((*STOP, signal.SIGCHLD), WATCH_PAUSE_SECONDS)
            self._reap()
            if self.code is not None:
                self._see_whether_stopped(signal_info)
                return _exit_code(self.code)
            now = time.monotonic()
            if signal_info is not None and signal_info.si_signo in STOP:
                self._stop_softly()
                raise Ended("Aborted", "Stopped on request.", self._code_if_ended())
            if now >= deadline:
                self._stop_softly()
                raise Ended("Deadline", f"The limit of {spec['duration']} s was exceeded.", self._code_if_ended())
            pids = processes.descendants(os.getpid())
            self._look_at_number(pids)
            self._look_at_memory(pids)
            if now >= look_at_disk:
                self._look_at_disk(pids)
                duration = time.monotonic() - now
                look_at_disk = now + max(DISK_PAUSE_SECONDS, 20 * duration)
            if now >= report:
                report = now + PROGRESS_PAUSE_SECONDS if self._report_progress() else report

    def _look_at_number(self, pids: list[int]) -> None:
        limit = self.spec.get("processes", MAX_PROCESSES)
        if len(pids) > limit:
            self._kill_all()
            raise Ended("TooManyProcesses", f"The command had more than {limit} processes.", self._code_if_ended())

    def _see_whether_stopped(self, signal_info: signal.struct_siginfo | None) -> None:
        """Check that no request to end came before the command's end.

        A machine that shuts down, or a service manager, asks all processes at once, and a command may answer with 0.
        """
        if (signal_info is not None and signal_info.si_signo in STOP) or signal.sigtimedwait(STOP, 0):
            raise Ended("Aborted", "Stopped on request.", self._code_if_ended())

    def _look_at_memory(self, pids: list[int]) -> None:
        limit = self.spec["memory"]
        memory = processes.memory(pids, limit)
        self.peak = max(self.peak, memory)
        if limit and memory > limit:
            self._kill_all()
            raise Ended("OutOfMemory", f"The command used more than {limit} bytes of memory.", self._code_if_ended())

    def _look_at_disk(self, pids: list[int] | None = None) -> None:
        """Check the limits of results, logs and working files.

        Results and logs have one limit; working files another, which is the same unless one is given.
        """
        limit = self.spec["max_output"]
        max_files = self.spec.get("max_files", outputs.MAX_FILES)
        logs = [os.path.join(self.work, layout.LOG), self.progress.path]
        problem = ""
        size, files = outputs.measure([self.output, *logs], limit, max_files)
        room = self.spec["disk"] or limit
        scratch_size, scratch_files = outputs.measure([self.scratch], room, max_files)
        scratch_size += processes.hidden_files(pids or [], room)
        if limit and size > limit:
            problem = f"The results and logs are larger than {limit} bytes."
        elif room and scratch_size > room:
            problem = f"The working files, those without a name and in shared memory too, are larger than {room} bytes."
        elif max(files, scratch_files) > max_files:
            problem = f"The command wrote more than {max_files} files."
        if problem:
            self._kill_all()
            raise Ended("OutputTooLarge", problem, self._code_if_ended())

    def _report_progress(self) -> bool:
        progress = self.progress.read()
        if progress is None:
            return False
        self.status.write(progress=progress[0], progress_text=progress[1])
        return True

    def _judge(self, exit_code: int) -> None:
        """Raise unless the command ended well; nothing of it runs any more."""
        self._look_at_disk()
        if exit_code == 0:
            return
        assert self.code is not None
        memory = self.spec["memory"]
        killed = os.WIFSIGNALED(self.code) and os.WTERMSIG(self.code) == signal.SIGKILL
        by_kernel = self.group is not None and cgroup.was_out_of_memory(self.group)
        if by_kernel or (killed and memory and self._peak() > memory):
            raise Ended("OutOfMemory", f"The command used more than {memory} bytes of memory.", exit_code)
        self.error = error_file.read_error(self.work)
        last = self.error["message"] if self.error else layout.log_tail(self.work).strip().rpartition("\n")[2]
        if os.WIFSIGNALED(self.code):
            name = signal.Signals(os.WTERMSIG(self.code)).name
            message = f"The command was ended by the signal {name}"
        else:
            message = f"The command ended with exit code {exit_code}"
        raise Ended("ExitCode", f"{message}: {last[:300]}" if last else f"{message}.", exit_code)

    def _stop_softly(self) -> None:
        """Ask everything to end, wait a little, then kill; remember first what is only half written."""
        pids = processes.descendants(os.getpid())
        self.incomplete = processes.being_written(pids)
        processes.signal_all(pids, signal.SIGTERM)
        end = time.monotonic() + self.grace
        while self._reap() and time.monotonic() < end:
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)
        self._kill_all()

    def _kill_all(self) -> None:
        """End all that came of the command, also what has left the tree of its processes."""
        if self.group is not None:
            cgroup.kill(self.group)
        processes.kill_below(os.getpid(), self._reap)

    def _reap(self) -> bool:
        """Collect the dead, orphans too.

        Whether any child is left.
        """
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.command:
                self.code = code

    def _code_if_ended(self) -> int | None:
        return _exit_code(self.code) if self.code is not None else None

    def _peak(self) -> int:
        """Return the most memory that was seen.

        For what was over too soon to be seen, the kernel's own figure.
        """
        return max(self.peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 if self.command else 0)

    def _finish(
        self, state: str, results: list[dict[str, Any]], *, exit_code: int | None, reason: str | None, message: str
    ) -> None:
        last = self.progress.read()
        if last is not None:
            self.status.content.update(progress=last[0], progress_text=last[1])
        files = [*results, *outputs.describe_logs(self.work)]
        self.status.write(
            state=state,
            step="ended",
            ended=_now(),
            exit_code=exit_code,
            reason=reason,
            message=message,
            **({"error": self.error} if self.error else {}),
            **({"inputs": self.staged} if self.staged else {}),
            outputs=files,
            warning=" ".join(self.warnings)[:1000],
            log_tail=layout.log_tail(self.work),
            usage=usage_of(self, files),
        )


def usage_of(attempt: Attempt, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what an attempt used: seconds, bytes; ``files`` are those that come of it."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall": round(time.monotonic() - attempt.began, 3) if attempt.began else 0.0,
        "cpu": round(children.ru_utime + children.ru_stime, 3),
        "peak_memory": attempt._peak(),
        "bytes_in": attempt.bytes_in,
        "bytes_out": sum(file["size"] for file in files),
        "bytes_moved": attempt.bytes_moved,
    }


@contextmanager
def interruptible(seconds: int) -> Iterator[None]:
    """Let SIGTERM end what is inside at once, as `Ended`.

    So does the job's limit of time, unless it is 0.

    A server that gives a byte now and then would hold a slot for ever: no silence is long enough to be noticed.
    """

    def stop(_number: int, _frame: object) -> NoReturn:
        raise Stopped

    def end(_number: int, _frame: object) -> NoReturn:
        raise Ended("Deadline", f"The limit of {seconds} s was exceeded while inputs were fetched.")

    for kind in STOP:
        signal.signal(kind, stop)
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    except Stopped:
        raise Ended("Aborted", "Stopped while its inputs were fetched.") from None


def _now() -> int:
    return time.time_ns() // 1_000_000


def _exit_code(code: int) -> int:
    """Return the exit code as a shell shows it.

    For a command that a signal ended it is 128 and the signal's number.
    """
    return os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)


def _secrets() -> dict[str, Any]:
    """Return what the service says on standard input, which is then closed: the command must not find it there."""
    with open(0, "rb", closefd=False) as file:
        text = file.read()
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def main(work: str, prepared: PreparedCommand | None = None) -> int:
    """Look after the attempt in a work folder.

    0 also if somebody else does or did so already. ``prepared`` is a child that may become its command.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, signal.SIGCHLD))
    os.umask(0o077)
    lock = layout.begin(work)
    if lock is None:
        return 0
    secrets = _secrets()
    spec = layout.read_json(os.path.join(work, layout.SPEC))
    if spec is None:
        return 2
    processes.become_reaper()
    attempt = Attempt(work, spec, secrets, prepared)
    try:
        attempt.run()
    except Exception as error:  # a fault here or of the machine (a full disk): say so while we can
        attempt._kill_all()
        attempt.status.write(state="FAILED", step="ended", ended=_now(), reason="AgentLost", message=repr(error))
        raise
    return 0
