"""The process of a command that is forked instead of executed.

It is forked by its agent before that has read anything of the job, and waits for its orders: what the command's words,
variables and files are. Then it prepares itself as a program would be prepared (`processes.enter`) and calls ``main``
of a module that was imported long before.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from uws_service.agent import cgroup, processes

WORDS = ("python", "-m")
"""What the words of such a command begin with; the module follows, and then arguments."""
NOT_STARTED = 127


def load(module: str) -> None:
    """Import a module, and what it says that its ``main`` will need (``preload``, if there is such a function)."""
    loaded = importlib.import_module(module)
    preload = getattr(loaded, "preload", None)
    if preload is not None:
        preload()


class PreparedCommand:
    """A child that waits to become the command.

    Parameters
    ----------
    module
        The module whose ``main`` it will call.
    child
        Its process id.
    orders, answer
        Pipes: the first one to it, the other one from it.
    """

    def __init__(self, module: str, child: int, orders: int, answer: int) -> None:
        self.module, self.child, self.orders, self.answer = module, child, orders, answer

    @classmethod
    def fork(cls, module: str, private: Collection[int] = ()) -> PreparedCommand:
        """Fork the child, which keeps none of the ``private`` descriptors."""
        parent = os.getpid()
        (orders, give), (answer, notify) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for file in (*private, give, answer):
                    os.close(file)
                processes.die_with(parent)
                processes.renounce_rights()  # before there are threads, which each have rights of their own
                _warm_up(module)
                _wait(module, parent, orders, notify)
            finally:  # nothing of the agent may run on in the child
                os._exit(NOT_STARTED)
        os.close(orders)
        os.close(notify)
        return cls(module, child, give, answer)

    def takes(self, command: Sequence[str]) -> bool:
        """Return whether the child can become a command.

        If it can't, it ends.
        """
        if tuple(command[:3]) == (*WORDS, self.module):
            return True
        os.close(self.orders)
        os.close(self.answer)
        return False

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: str,
        stdout: str,
        stderr: str,
        file_size: int,
        group: str | None = None,
    ) -> int:
        """Let the child become the command, and return its process id; as `processes.spawn`.

        If it is no more, which nothing but a kill can be the reason for, the command is started as a program.
        """
        words = list(command)
        orders = {
            "words": words,
            "environment": dict(environment),
            "place": {"folder": folder, "stdout": stdout, "stderr": stderr, "file_size": file_size, "group": group},
        }
        if any("\0" in word for word in words):
            raise processes.CannotStart("The command can't be started: an argument holds a NUL character.")
        try:
            with open(self.orders, "wb") as file:
                file.write(json.dumps(orders).encode())
            with open(self.answer, "rb") as answer:
                problem = answer.read().decode("utf-8", "replace")
        except BrokenPipeError:  # it reads to the end before it begins, so it has not begun
            return processes.spawn(
                command, environment, folder=folder, stdout=stdout, stderr=stderr, file_size=file_size, group=group
            )
        if problem:
            os.waitpid(self.child, 0)
            raise processes.CannotStart(f"The command {words[0]!r} can't be started: {problem}.")
        return self.child


def _warm_up(module: str) -> None:
    """Do what the module says can be done before the job is known (``warm_up``, if there is such a function)."""
    warm_up = getattr(sys.modules[module], "warm_up", None)
    if warm_up is not None:
        warm_up()


def _wait(module: str, parent: int, orders: int, notify: int) -> NoReturn:
    """Become the command once the orders are there.

    End without any.
    """
    with open(orders, "rb") as file:
        text = file.read()
    if not text:
        os._exit(0)
    try:
        content = json.loads(text)
        place = content["place"]
        if place["group"] is not None:
            with contextlib.suppress(OSError):  # gone, as when the service was moved: as on a machine without
                cgroup.enter(place["group"])
        processes.enter(parent, place["folder"], place["stdout"], place["stderr"], place["file_size"])
    except OSError as error:
        os.write(notify, (error.strerror or str(error)).encode())
        os._exit(NOT_STARTED)
    except BaseException as error:
        os.write(notify, repr(error).encode())
        os._exit(NOT_STARTED)
    os.close(notify)
    _end(_run(module, content["words"], content["environment"]))


def _run(module: str, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Call ``main`` as a fresh interpreter would.

    Return the exit code.
    """
    # Python's own beginning: a broken pipe and a file that is too large are errors of the call.
    for kind in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    if (temporary := sys.modules.get("tempfile")) is not None:
        vars(temporary)["tempdir"] = None  # where an import put it, if it asked
    loaded = sys.modules[module]
    sys.argv[:] = [loaded.__file__ or module, *words[3:]]
    try:
        code = loaded.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _end(code: int) -> NoReturn:
    """End without the interpreter's clean-up, which libraries with threads do not always live through."""
    import atexit

    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # a full disk: the command has not said all that it had to
            code = code or 120  # as Python itself ends then
    os._exit(code & 0xFF)
