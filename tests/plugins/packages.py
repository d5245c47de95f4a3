"""Packages as an installer leaves them.

A module, and beside it what says of its entry points.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_package(folder: Path, name: str, source: str, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Write a module and its registration, as `pip install` would.

    Parameters
    ----------
    folder
        Where installed packages lie.
    name
        Of the distribution and of its module.
    source
        The module's text.
    entry_points
        Object references by name, by group.
    """
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{point} = {reference}" for point, reference in points.items())])
        for group, points in entry_points.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups) + "\n", encoding="utf-8")
