"""Large work, run beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SMALL_BYTES = 64 * 1024
"""Smaller work is done at once: to hand it over would cost more."""
THREADS = 2
"""Few: the interpreter runs a single one at a time, and large requests queue behind each other."""
_executor = ThreadPoolExecutor(THREADS, "offload")


async def offload(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function.

    Use a thread if its input is large.

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
