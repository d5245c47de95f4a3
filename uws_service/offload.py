"""Work that grows with its input, done beside the event loop so that nobody else waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SMALL_BYTES = 64 * 1024
"""What is not larger is done at once: handing it over would cost more than doing it."""
THREADS = 2
"""Few: the interpreter runs one of them at a time, and whoever sends much waits behind others of that kind."""
_executor = ThreadPoolExecutor(THREADS, "offload")


async def offload(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function, in a thread if there is much to do.

    Parameters
    ----------
    size
        Bytes that the function works on, roughly.
    """
    if size <= SMALL_BYTES:
        return function(*args, **kwargs)
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: T = await asyncio.get_running_loop().run_in_executor(_executor, call)
    return result
