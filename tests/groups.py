"""Which tests stay together when they run side by side: those that share a server, and else those of a module.

The workers know the tests, the process that deals them out knows only their ids. So each worker writes the groups into
one file, the same text whoever writes it, which the scheduler reads once all have collected.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

FOLDER = pytest.StashKey[Path]()
INPUT = "uws_groups"
SLOW = ("tests/crash", "conformance/tests", "tests/auth", "tests/service", "tests/docs", "tests/tap", "tests/sites")
"""Folders whose groups take minutes: they go first, so that none of them is left over at the end."""


def servers(item: pytest.Item) -> Iterator[tuple[bool, str]]:
    """Name what the item shares with others, such as a server: whether with those of its folder, and its name."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for fixture in item.fixturenames:  # type: ignore[attr-defined]
        definition = definitions[fixture][-1] if definitions.get(fixture) else None
        if definition is None or "/" not in definition.baseid:
            continue
        of_folder = definition.scope in ("session", "package")
        if fixture in parameters and definition.scope != "function":
            yield of_folder, f"{definition.baseid}[{parameters[fixture]}]"
        elif of_folder:
            yield of_folder, definition.baseid


def group_of(item: pytest.Item) -> str:
    """Return the item's group.

    Its own where a mark asks for it, its server's, or its module.
    """
    if item.get_closest_marker("xdist_group") is not None:
        return item.nodeid
    # Where there are several servers, the folder's comes first, and one with a parameter parts the tests further.
    _, _, name = max(((of_folder, len(name), name) for of_folder, name in servers(item)), default=(False, 0, ""))
    return name or item.nodeid.partition("::")[0]


class GroupScheduling(LoadScopeScheduling):
    """Deals out whole groups, each to the worker that is free."""

    @cached_property
    def groups(self) -> dict[str, str]:
        """Return the group of each test."""
        groups: dict[str, str] = json.loads((self.config.stash[FOLDER] / "groups.json").read_text())
        return groups

    def _split_scope(self, nodeid: str) -> str:
        return self.groups[nodeid]


class Controller:
    """The side that deals the tests out."""

    def __init__(self, config: pytest.Config) -> None:
        config.stash[FOLDER] = Path(tempfile.mkdtemp(prefix="uws-groups-"))

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        node.workerinput[INPUT] = str(node.config.stash[FOLDER])

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> GroupScheduling | None:
        """Deal out by group, which is what ``--dist loadgroup`` asks for."""
        return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Remove the file."""
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Take part where tests run side by side."""
    if config.getoption("dist", "no") == "loadgroup" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Controller(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with slow groups where tests run side by side."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((n for n, folder in enumerate(SLOW) if folder in item.nodeid), len(SLOW)))


@pytest.hookimpl(tryfirst=True)  # before the worker says that it has collected
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the groups for the scheduler."""
    place = getattr(session.config, "workerinput", {}).get(INPUT)
    if place is None:
        return
    handle, name = tempfile.mkstemp(dir=place)
    with os.fdopen(handle, "w") as file:
        json.dump({item.nodeid: group_of(item) for item in session.items}, file)
    os.replace(name, Path(place) / "groups.json")
