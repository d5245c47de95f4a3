"""A process that has imported a command's module once, and forks for each attempt of it.

``python fork_server.py [MODULE]``, with a socket (``SOCK_SEQPACKET``) as standard input. Each packet brings two
descriptors: a file with the name of a work folder, and one with its secrets. The server reads neither. It passes them
to an agent that it has forked, which reads both, and answers with a handle of that process. With a module, the agent
first forks the process that will be its command (`prepared`), before it has read anything.

So nothing of a job is ever in the memory that other jobs are forked from. The server ends when the other end of its
socket is closed; agents go on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NamedTuple

FORK = b"fork"
"""A request: fork an agent, with the descriptors of the folder's name and of the secrets."""
READY = b"ready"
"""What the server says first."""
STARTED = b"started"
"""The answer, with a handle of the agent."""
FAILED = b"failed"
"""The answer when there is no new process: the machine has no room for any."""
PACKET_BYTES = 64
NAME_BYTES = 4096
"""The longest path that Linux takes."""
IDLE_MS = 50
"""After this time without a request the next agent is forked in advance."""
_HELD_BACK = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


class ManyThreads(Exception):
    """The module has started threads as it was imported: what they hold would be held for ever in a fork."""


class Pair(NamedTuple):
    """An agent that waits for its attempt, with the process of its command if that is to be forked."""

    handle: int
    """Shows its end, whoever may get its process id then."""
    connection: socket.socket


class ForkServer:
    """Answers requests for agents.

    When there is nothing to do it forks the next agent in advance, so that a job that comes alone waits for no fork.

    Parameters
    ----------
    connection
        The service's socket.
    module
        The module whose ``main`` is the command of these attempts; empty: their commands are programs.
    """

    def __init__(self, connection: socket.socket, module: str) -> None:
        self.connection, self.module = connection, module
        self.spare: Pair | None = None

    def run(self) -> None:
        """Serve until the service has closed its end."""
        signal.signal(signal.SIGCHLD, _reap)
        self.connection.send(READY)
        requests = select.poll()
        requests.register(self.connection, select.POLLIN)
        while True:
            if not requests.poll(IDLE_MS if self.spare is None else None):
                with contextlib.suppress(OSError):  # no room for a process now
                    self.spare = self._fork()
                continue
            request, files, _, _ = socket.recv_fds(self.connection, PACKET_BYTES, 2)
            if not request:
                return
            try:
                if request == FORK and len(files) == 2:
                    self._answer(files)
            finally:
                for file in files:
                    os.close(file)

    def _answer(self, files: Sequence[int]) -> None:
        """Give an attempt to an agent, and tell the service of it."""
        try:
            pair = self._handed(files)
        except OSError:
            self.connection.send(FAILED)
            return
        try:
            socket.send_fds(self.connection, [STARTED], [pair.handle])
        finally:
            os.close(pair.handle)

    def _handed(self, files: Sequence[int]) -> Pair:
        """Return the agent that has got an attempt.

        The spare one if it still lives, else a new one.
        """
        pair, self.spare = self.spare or self._fork(), None
        try:
            with pair.connection:
                socket.send_fds(pair.connection, [FORK], files)
            return pair
        except OSError:  # it was killed while it waited
            os.close(pair.handle)
        pair = self._fork()
        with pair.connection:
            socket.send_fds(pair.connection, [FORK], files)
        return pair

    def _fork(self) -> Pair:
        """Fork an agent.

        SIGCHLD waits meanwhile: the process id is the agent's until somebody has asked how it ended.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            with theirs:
                agent = os.fork()
                if agent == 0:
                    code = 1
                    try:
                        self.connection.close()
                        ours.close()
                        code = _be_agent(theirs, self.module)
                    except BaseException:  # nothing of the server may run on in the child
                        sys.excepthook(*sys.exc_info())
                    finally:
                        os._exit(code)
            return Pair(os.pidfd_open(agent), ours)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


def _reap(_number: int, _frame: object) -> None:
    """Bury the dead."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _be_agent(connection: socket.socket, module: str) -> int:
    """Be the agent of the attempt that comes, up to its end; return the exit code.

    In the order that keeps the command's process clean: it is forked before the attempt is known.
    """
    from uws_service.agent import prepared, supervisor

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    command = prepared.PreparedCommand.fork(module, (connection.fileno(),)) if module else None
    with connection:
        request, files, _, _ = socket.recv_fds(connection, PACKET_BYTES, 2)
    if not request:  # the server has ended
        return 0
    name, secrets = files
    folder = os.pread(name, NAME_BYTES, 0).decode("utf-8", "surrogateescape")
    log = os.open(os.path.join(folder, "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, secrets), (1, log), (2, log)):
        os.dup2(source, target)
    for file in (name, secrets, log):
        os.close(file)
    return supervisor.main(folder, command)


def load(module: str) -> None:
    """Import what the agents and their command need.

    Raises
    ------
    ManyThreads
        There is more than one thread afterwards.
    """
    gc.disable()  # nothing of what is imported is garbage
    import hashlib  # noqa: F401 - the end of an attempt needs it

    from uws_service.agent import supervisor  # noqa: F401

    if module:
        from uws_service.agent import prepared

        prepared.load(module)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise ManyThreads(f"{module} has started {threads - 1} threads as it was imported, so it can't be forked.")
    gc.enable()
    gc.freeze()  # a collection in a child would write to the pages that it shares with the others


def main(arguments: Sequence[str]) -> int:
    """Serve the socket that is standard input."""
    connection = socket.socket(fileno=os.dup(0))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    try:
        load(arguments[0] if arguments else "")
    except ManyThreads as error:
        print(f"fork server: {error}", file=sys.stderr)
        return 1
    with connection, contextlib.suppress(ConnectionError):
        ForkServer(connection, arguments[0] if arguments else "").run()
    return 0


if __name__ == "__main__":
    # Whatever the service had open by accident must not stay open here, least of all its listening socket.
    os.closerange(3, 1 << 16)
    # At the end of the path: nothing beside the package can shadow the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    os.umask(0o077)
    exit_code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(exit_code)  # without the clean-up of libraries, which are slow or loud then
