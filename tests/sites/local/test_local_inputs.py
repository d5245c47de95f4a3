"""The site that is this machine.

Inputs that can't be had, and what goes wrong before the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites.local.launches import ended, launch, look, until
from uws_service.depot import Depot
from uws_service.domain.attempt import Input, Reason, Seen
from uws_service.sites.local.executor import LocalExecutor

pytestmark = pytest.mark.anyio


# -- what goes wrong before the command ----------------------------------------------------------------------------


async def test_an_input_that_is_not_in_the_depot(executor: LocalExecutor) -> None:
    """The attempt fails with StageIn and names the parameter."""
    await executor.submit(launch(["true"], inputs=(Input("TABLE", "files/TABLE", depot_key="jobs/job/uploads/x"),)))
    observation = await until(executor, ended)
    assert (observation.seen, observation.reason) == (Seen.FAILED, Reason.STAGE_IN)
    assert observation.message.startswith("TABLE: ")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "uploads/../../x", "."])
async def test_an_input_path_that_leaves_the_folder(executor: LocalExecutor, path: str) -> None:
    """Uploads stay inside the input folder."""
    await executor.submit(launch(["true"], inputs=(Input("T", path, depot_key="jobs/job/uploads/x"),)))
    observation = await until(executor, ended)
    assert observation.reason is Reason.STAGE_IN and "leaves the input folder" in observation.message


async def test_a_python_that_does_not_run(depot: Depot, tmp_path: Path) -> None:
    """The attempt is lost, with the reason.

    It is not started for ever.
    """
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no Python today >&2; exit 1\n")
    broken.chmod(0o755)
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=1, python=str(broken))
    await executor.start()
    try:
        await executor.submit(launch(["true"]))
        observation = await until(executor, ended)
        assert observation.reason is Reason.AGENT_LOST and "no Python today" in observation.message
    finally:
        await executor.stop()


# -- stage-in from the network -------------------------------------------------------------------------------------


@pytest.fixture
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """Yield a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(180)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/table", server


async def test_abort_during_stage_in(executor: LocalExecutor, silent_server: tuple[str, socket.socket]) -> None:
    """U-108: a job in stage-in can be aborted."""
    url, server = silent_server
    await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
    connection, _ = await asyncio.to_thread(server.accept)
    with connection:
        observation = await look(executor)
        assert observation is not None and observation.seen is Seen.STARTING and observation.started is None
        began = time.monotonic()
        await executor.kill("job", 1)
        observation = await until(executor, ended)
        assert observation.reason is Reason.ABORTED and observation.started is None
        assert time.monotonic() - began < 50  # before the server's silence is an error


async def test_a_url_that_cannot_be_fetched(executor: LocalExecutor) -> None:
    """The attempt fails with StageIn and names the parameter."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/gone"
    await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
    observation = await until(executor, ended)
    assert (observation.reason, observation.message[:3]) == (Reason.STAGE_IN, "t: ")


async def test_a_private_address_is_not_fetched(
    depot: Depot, tmp_path: Path, silent_server: tuple[str, socket.socket]
) -> None:
    """The policy of the settings arrives at the agent.

    Nobody connects.
    """
    url, server = silent_server
    executor = LocalExecutor("local", tmp_path / "work", depot, capacity=1)
    await executor.start()
    try:
        await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=100),)))
        assert (await until(executor, ended)).reason is Reason.STAGE_IN
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    finally:
        await executor.stop()


async def test_a_server_that_drips(executor: LocalExecutor, silent_server: tuple[str, socket.socket]) -> None:
    """The job's limit of time holds while its inputs are on their way, however often a byte of them comes."""
    url, server = silent_server
    await executor.submit(launch(["true"], inputs=(Input("t", "uploads/t", url=url, max_size=10**6),), duration=2))
    connection, _ = await asyncio.to_thread(server.accept)

    def drip() -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(600):
                connection.sendall(b"x")
                time.sleep(0.05)

    dripping = asyncio.create_task(asyncio.to_thread(drip))
    observation = await until(executor, ended)
    assert observation.reason is Reason.DEADLINE and "while inputs were fetched" in observation.message
    await dripping
