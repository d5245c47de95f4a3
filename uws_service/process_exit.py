"""The end of a process whose libraries have threads of their own."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """End with this exit code, without the interpreter's clean-up.

    A thread of obstore that still gives back a result while Python clears up aborts the process (SIGABRT), and DuckDB
    writes words of its own to standard error then. Handlers of `atexit` run, and streams are flushed.
    """
    atexit._run_exitfuncs()
    leave_process(code)


def leave_process(code: int) -> NoReturn:
    """Flush the streams and end.

    The last that a handler of `atexit` can do.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or its reader has gone
            stream.flush()
    os._exit(code)
