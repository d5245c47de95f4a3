"""The recipes of the study start real systems and print the figures that the study says they print."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.batch.tree import require_tree
from tests.rucio.environment import RUCIO

pytestmark = pytest.mark.xdist_group("recipes")  # each takes a processor for a minute

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "docs" / "study"
RECIPES = STUDY / "recipes"
RECIPE_SECONDS = 900
FIGURE = re.compile(r"([a-z]+\.[a-z_]+): (\S+) \S.*")
CONSTANTS = {
    "diracx.operations": 38,
    "diracx.handing_out": 0,
    "diracx.sweep": 20,
    "diracx.token": 20,
    "diracx.parts": 3,
    "htcondor.parts": 7,
    "htcondor.lease": 40,
    "sapporo.parts": 1,
    "slurm.parts": 6,
}
"""What a machine does not change."""


def require(name: str) -> None:
    """Skip the test where the environment of a recipe was not built."""
    spec = importlib.util.spec_from_file_location("recipe", RECIPES / "recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name).require()


REQUIRED: dict[str, Callable[[], Any]] = {
    "own_service": lambda: None,
    "diracx_service": partial(require, "DIRACX"),
    "sapporo_server": partial(require, "SAPPORO"),
    "rucio_server": RUCIO.require,
    "htcondor_pool": require_tree,
    "slurm_cluster": require_tree,
}
BY_HAND = {
    "toil_server": "it has 136 packages, and takes half a minute for one echo on a busy machine",
    "alienpy_client": "it installs from the network what it measures",
    "htcondor_faults": "it shows three figures more of the pool that htcondor_pool starts",
}
"""Recipes that no test runs, with the reason."""


IN_EVERY_RUN = ("own_service", "htcondor_pool")
"""Recipes that need little beside what other tests need too; `make soak-tests` runs all of them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.soak) for name in REQUIRED]
)
def test_a_recipe_prints_its_figures(name: str) -> None:
    REQUIRED[name]()
    done = subprocess.run(
        [sys.executable, RECIPES / f"{name}.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RECIPE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = {match[1]: float(match[2]) for line in done.stdout.splitlines() if (match := FIGURE.fullmatch(line))}
    pages = yaml.safe_load((STUDY / "measured.yaml").read_text(encoding="utf-8"))["pages"]
    expected = {figure["id"] for entries in pages.values() for figure in entries if figure.get("recipe") == name}
    assert expected and expected <= set(figures), done.stdout
    wrong = {key: value for key, value in figures.items() if key in CONSTANTS and value != CONSTANTS[key]}
    assert wrong == {}
    assert all(value > 0 for key, value in figures.items() if key not in CONSTANTS), figures


def test_every_recipe_is_run() -> None:
    """A script that shows figures is one of those above, or says on the recipes' page that it is run by hand."""
    scripts = {path.stem for path in RECIPES.glob("*.py") if "def measure(" in path.read_text(encoding="utf-8")}
    assert scripts == set(REQUIRED) | set(BY_HAND)
    page = (RECIPES / "index.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if "| by hand: " in line]
    assert [name for name in BY_HAND if not any(f"NAME={name}`" in row for row in rows)] == []
