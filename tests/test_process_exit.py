"""The end of a process, with threads of a library that still have results to give back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, atexit, sys
import obstore
from obstore.store import MemoryStore
from uws_service.process_exit import end_process

async def leave_work_behind():
    store = MemoryStore()
    for number in range(2000):
        asyncio.ensure_future(obstore.put_async(store, str(number), b"x"))
    await asyncio.sleep(0.002)

atexit.register(print, "a handler of atexit")
asyncio.run(leave_work_behind())
print("the last words")
end_process(3)
"""


def test_the_exit_code_is_the_one_that_was_given(tmp_path: Path) -> None:
    """More than one in three such processes abort when they end by `sys.exit` (obstore 0.11, Python 3.11)."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    for _ in range(12):
        ended = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 3, ended
        assert ended.stdout == "the last words\na handler of atexit\n"
