"""Fixtures for the whole suite, and which tests a run leaves out."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import httpcore2
import pytest
from hypothesis import HealthCheck, settings

from tests import databases
from tests.s3 import S3Server
from uws_service.store import Store

CLUSTER = Path(__file__).resolve().parent / "cluster"
LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""The number of tests that a run leaves out, by marker."""


# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure() -> None:
    """Let interrupts reach the programs that tests start, though a shell ignores them for what it runs behind it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    # Each client of the tests would read the system's certificate authorities anew, for some 30 ms of processor time.
    httpcore2.default_ssl_context = cache(httpcore2.default_ssl_context)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Return the service's event loop: asyncio.

    So do its tests.
    """
    return "asyncio"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests on real clusters, and those that take long for what they add.

    They run when they are asked for: by path, by marker, or by ``UWS_TEST_SOAK=1`` all that take long.
    """
    for item in items:
        if CLUSTER in item.path.parents:
            item.add_marker("cluster")
    if config.option.markexpr:
        return
    named = [argument.partition("::") for argument in config.args]
    folders = [Path(config.invocation_params.dir, path).resolve() for path, _, _ in named]
    unwanted = set()
    if not any(path == CLUSTER or CLUSTER in path.parents for path in folders):
        unwanted.add("cluster")
    if os.environ.get("UWS_TEST_SOAK") != "1" and not all(test for _, _, test in named):
        unwanted.add("soak")
    kept: list[pytest.Item] = []
    left_out: dict[str, list[pytest.Item]] = {"cluster": [], "soak": []}
    for item in items:
        marker = next((marker for marker in sorted(unwanted) if item.get_closest_marker(marker)), None)
        (kept if marker is None else left_out[marker]).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=[*left_out["cluster"], *left_out["soak"]])
    config.stash[LEFT_OUT] = {marker: len(tests) for marker, tests in left_out.items()}


def pytest_sessionfinish() -> None:
    """Stop the database server, which a worker that is ended might not do."""
    databases.remove_server()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and how to run it."""
    left_out = config.stash.get(LEFT_OUT, {})
    if number := left_out.get("cluster"):
        terminalreporter.write_line(
            f"{number} tests on real Kubernetes clusters were not run: `make test-cluster` runs them (as root, with Go "
            "and containerd; see tests/rig/README.md)"
        )
    if number := left_out.get("soak"):
        terminalreporter.write_line(
            f"{number} tests that take long were not run: `make soak-tests` and `make soak-cluster` run them"
        )


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Yield one S3 server with a bucket, for all tests that need one."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    return databases.new_sqlite(tmp_path) if request.param == "sqlite" else databases.new_postgresql()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open a store whose feed does not run."""
    opened = await Store.open(url, create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def peer(store: Store, url: str) -> AsyncIterator[Store]:
    """Open a second store on the same database."""
    opened = await Store.open(url)
    yield opened
    await opened.close()
