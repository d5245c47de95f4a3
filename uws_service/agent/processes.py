"""The processes of one attempt.

Start the command, find all that came of it, weigh it, and end it.

The agent is the reaper of orphans (``PR_SET_CHILD_SUBREAPER``), so whatever the command forks stays below the agent,
also after ``setsid`` and double forks. `subprocess` would cost more to import than all the rest of the agent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import stat
import time
from collections.abc import Callable, Mapping, Sequence

from uws_service.agent import cgroup

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KERNEL_LISTS_CHILDREN = os.path.exists("/proc/thread-self/children")
_libc = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):
    """The command could not be started.

    The text says why.
    """


def become_reaper() -> None:
    """Become the parent of orphans among the descendants."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: str,
    stdout: str,
    stderr: str,
    file_size: int,
    group: str | None = None,
) -> int:
    """Start the command in a session of its own and return its process id.

    Parameters
    ----------
    folder
        The working directory.
    stdout, stderr
        Files that are appended to.
    file_size
        No file may grow beyond so many bytes; 0: no limit.
    group
        The cgroup that it is put into.

    Raises
    ------
    CannotStart
        No such command, no right to execute it, or arguments that the system does not take.
    """
    try:
        arguments = [os.fsencode(word) for word in command]
        if any(b"\0" in word for word in arguments):
            raise ValueError("an argument holds a NUL character")
    except ValueError as error:
        raise CannotStart(f"The command can't be started: {error}.") from None
    parent = os.getpid()
    ready, notify = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if group is not None:
                with contextlib.suppress(OSError):  # gone, as when the service was moved: as on a machine without
                    cgroup.enter(group)
            enter(parent, folder, stdout, stderr, file_size)
            os.execvpe(arguments[0], arguments, environment)
        except OSError as error:
            os.write(notify, (error.strerror or str(error)).encode())
        except BaseException as error:  # nothing of the agent may run on in the child
            os.write(notify, repr(error).encode())
        finally:
            os._exit(127)
    os.close(notify)
    with open(ready, "rb") as answer:
        problem = answer.read().decode("utf-8", "replace")
    if problem:
        os.waitpid(child, 0)
        raise CannotStart(f"The command {command[0]!r} can't be started: {problem}.")
    return child


def die_with(parent: int) -> None:
    """Let this process be killed when its parent dies; end at once if that has happened."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)


def renounce_rights() -> None:
    """Gain no rights by exec from now on.

    A setuid program could outlive the agent, and nobody could kill it.
    """
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def enter(parent: int, folder: str, stdout: str, stderr: str, file_size: int) -> None:
    """Prepare a child of the agent for its command."""
    os.setsid()
    die_with(parent)
    renounce_rights()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")  # a machine without memory shall lose the job, not the service
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    # What is ignored stays so through exec: by Python SIGPIPE and SIGXFSZ, under nohup others.
    for kind in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # the C library's own
            signal.signal(kind, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)


def descendants(root: int) -> list[int]:
    """Return all processes below one, without itself."""
    pids: list[int] = []
    ahead = [root]
    while ahead:
        children = _children(ahead.pop())
        pids += children
        ahead += children
    return pids


def _children(pid: int) -> list[int]:
    if not _KERNEL_LISTS_CHILDREN:
        return _children_by_scan(pid)
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                pids += map(int, file.read().split())
    return pids


def _children_by_scan(parent: int) -> list[int]:
    pids = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    pids.append(int(name))
    return pids


def memory(pids: Sequence[int], limit: int) -> int:
    """Return bytes of memory that processes hold together.

    Pages that they share count once for each of them, unless that sum is over the limit: then it is looked at closely.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
            total += int(file.read().split()[1]) * _PAGE
    if limit and total > limit and len(pids) > 1:
        return sum(_proportional(pid) for pid in pids)
    return total


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def being_written(pids: Sequence[int]) -> set[tuple[int, int]]:
    """Return the files that processes are writing.

    Each is (device, inode): it is not complete yet.
    """
    files = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/fdinfo/{number}") as info:
                    flags = next((int(line.split()[1], 8) for line in info if line.startswith("flags:")), 0)
                    if flags & (os.O_WRONLY | os.O_RDWR):
                        entry = os.stat(f"/proc/{pid}/fd/{number}")
                        files.add((entry.st_dev, entry.st_ino))
    return files


def hidden_files(pids: Sequence[int], limit: int) -> int:
    """Return the bytes of open files without a name.

    Files in shared memory count too.
    """
    shared = os.stat("/dev/shm").st_dev if os.path.isdir("/dev/shm") else None
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    entry = os.stat(f"/proc/{pid}/fd/{number}")
                    if stat.S_ISREG(entry.st_mode) and (entry.st_nlink == 0 or entry.st_dev == shared):
                        sizes[entry.st_dev, entry.st_ino] = entry.st_blocks * 512
        if limit and sum(sizes.values()) > limit:
            break
    return sum(sizes.values())


def signal_all(pids: Sequence[int], kind: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, kind)


def kill_below(root: int, reap: Callable[[], bool], seconds: float = 10.0) -> None:
    """Kill everything below a process until nothing is left.

    ``reap()`` collects the dead and says if any child is.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pids = descendants(root)
        signal_all(pids, signal.SIGSTOP)  # who is stopped can't fork while we go through the list
        signal_all(pids, signal.SIGKILL)
        if not reap():
            return
        time.sleep(0.005)
