"""The loops of the service.

Each is one line, starts with it and ends with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from uws_service import runtime as runtime_module
from uws_service.runtime import LOOPS, Loop, Runtime, running
from uws_service.settings import Settings


class Beat:
    """A loop that notes how it is run."""

    def __init__(self) -> None:
        self.states: list[str] = []

    async def run(self) -> None:
        self.states.append("runs")
        try:
            await asyncio.Event().wait()
        finally:
            self.states.append("ended")

    def make(self, runtime: Runtime) -> list[Coroutine[Any, Any, None]]:
        assert runtime.store is not None
        return [self.run()]


@pytest.mark.anyio
@pytest.mark.parametrize("controller", [True, False])
async def test_a_loop_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controller: bool) -> None:
    """It runs as long as the service; one for controllers does not run in a process that only answers requests."""
    everywhere, of_controllers = Beat(), Beat()
    loops = (
        *LOOPS,
        Loop("everywhere", everywhere.make),
        Loop("of controllers", of_controllers.make, controllers_only=True),
    )
    monkeypatch.setattr(runtime_module, "LOOPS", loops)
    async with running(Settings.load(data=tmp_path, controller=controller)) as runtime:
        await asyncio.sleep(0)
        assert everywhere.states == ["runs"]
        assert of_controllers.states == (["runs"] if controller else [])
        assert [leader.executor.site for leader in runtime.leaders] == (["local"] if controller else [])
    assert everywhere.states == ["runs", "ended"]
    assert of_controllers.states == (["runs", "ended"] if controller else [])


@pytest.mark.anyio
async def test_a_loop_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service and its other loops go on."""

    async def broken() -> None:
        raise ValueError("broken")

    beat = Beat()
    loops = (Loop("broken", lambda _runtime: [broken()]), *LOOPS, Loop("beat", beat.make))
    monkeypatch.setattr(runtime_module, "LOOPS", loops)
    async with running(Settings.load(data=tmp_path)) as runtime:
        await asyncio.sleep(0.1)
        assert beat.states == ["runs"]
        assert not [problem for problem in await runtime.problems() if "site" not in problem]
    assert beat.states == ["runs", "ended"]
