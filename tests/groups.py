"""Which tests stay together when they run side by side: those that share a server, and else those of a module."""

from __future__ import annotations

import pytest


def shared(item: pytest.Item) -> list[str]:
    """Name the session's fixtures of the item's folder, such as a server, that would be started again elsewhere."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    names = []
    for name in item.fixturenames:  # type: ignore[attr-defined]
        found = definitions.get(name)
        if found and found[-1].scope in ("session", "package") and "/" in found[-1].baseid:
            names.append(f"{found[-1].baseid}[{parameters[name]}]" if name in parameters else found[-1].baseid)
    return names


def group_of(item: pytest.Item) -> str:
    """Return the name of the item's group: where several servers are needed, the parametrized one decides."""
    return max(shared(item), key=len, default=item.nodeid.partition("::")[0])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put each test into its group, unless it names one itself."""
    if hasattr(config, "workerinput"):
        for item in items:
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(group_of(item)))
