"""Fixtures for the whole suite, and which tests a run leaves out."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import httpcore2
import pytest

from tests import databases
from tests.s3 import S3Server
from uws_service.store import Store

CLUSTER = Path(__file__).resolve().parent / "cluster"
LEFT_OUT = pytest.StashKey[int]()


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
    """Leave out the tests on real clusters.

    They run when they are asked for by path or by marker.
    """
    for item in items:
        if CLUSTER in item.path.parents:
            item.add_marker("cluster")
    named_paths = (
        Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args
    )
    if config.option.markexpr or any(path == CLUSTER or CLUSTER in path.parents for path in named_paths):
        return
    left_out = [item for item in items if item.get_closest_marker("cluster")]
    items[:] = [item for item in items if not item.get_closest_marker("cluster")]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)


def pytest_sessionfinish() -> None:
    """Stop the database server, which a worker that is ended might not do."""
    databases.remove_server()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and how to run it."""
    if number := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{number} tests on real Kubernetes clusters were not run: `make test-cluster` runs them (as root, with Go "
            "and containerd; see tests/rig/README.md)"
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
