"""What a test opens is closed and collected in that test, so that a leak fails the test that made it and no other.

The garbage collector runs when it likes: a socket that one test leaves to it would warn in the middle of another, and
warnings are errors here. So it runs after each test. Clients of others that can't be closed from outside (pyvo streams
answers and does not read them to their end) are closed by a fixture that all tests use.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from requests.adapters import HTTPAdapter

FAILED = pytest.StashKey[bool]()


IMPORTS = 20
"""So many new modules make collections slow enough to leave their objects out of later ones."""
_modules = 0


def pytest_collection_finish() -> None:
    """Leave out of each later collection what the imports made, which makes it take a few milliseconds."""
    gc.collect()
    _freeze()


def _freeze() -> None:
    global _modules
    gc.freeze()
    _modules = len(sys.modules)


@pytest.fixture(autouse=True)
def closed_requests() -> Iterator[None]:
    """Close each answer and connection of ``requests``, and so of pyvo and astroquery, at the end of the test."""
    opened: list[Any] = []
    send = HTTPAdapter.send

    def record(adapter: HTTPAdapter, *arguments: Any, **options: Any) -> Any:
        opened.append(adapter)
        answer = send(adapter, *arguments, **options)
        opened.append(answer)
        return answer

    with patch.object(HTTPAdapter, "send", record):
        yield
    for resource in reversed(opened):  # answers before the pools that their connections came from
        resource.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Collect garbage once the fixtures are gone.

    Fail this test for what could not be finalized cleanly.
    """
    yield
    unraisable: list[str] = []

    def note(problem: sys.UnraisableHookArgs) -> None:
        unraisable.append(f"{problem.object!r}: {problem.exc_value!r}")

    with patch.object(sys, "unraisablehook", note):
        gc.collect()
    if len(sys.modules) > _modules + IMPORTS:  # some tests import much only when they run
        _freeze()
    if unraisable:
        pytest.fail("left to the garbage collector:\n" + "\n".join(unraisable), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """Remember which tests failed."""
    report: pytest.TestReport = yield  # type: ignore[misc, assignment]
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Drop what the traceback of a failed test holds before the next test begins: the failure is recorded."""
    result: object = yield  # type: ignore[misc]
    if item.stash.get(FAILED, False):
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            if hasattr(sys, name):
                delattr(sys, name)
        with warnings.catch_warnings(action="ignore"):
            gc.collect()
    return result  # type: ignore[return-value]
