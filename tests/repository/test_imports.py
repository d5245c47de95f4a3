"""The lowest layers need nothing but Python: whatever else they import fails here, by whatever name.

The other layers are checked by ``lint-imports``, where the packages that are forbidden must be listed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of imported modules, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ([f"{module}.{alias.name}" for alias in node.names] if module == "uws_service" else [module])


def foreign(tree: ast.AST, package: str) -> list[str]:
    """Return imports of neither the standard library nor the package."""
    return [
        name
        for name in imported(tree)
        if name != package
        and not name.startswith(f"{package}.")
        and name.partition(".")[0] not in sys.stdlib_module_names
    ]


@pytest.mark.parametrize("package", ["agent", "domain"])
def test_only_the_standard_library(package: str) -> None:
    """The agent runs in users' images, and the domain is pure."""
    paths = sorted((ROOT / "uws_service" / package).rglob("*.py"))
    assert paths
    hits = {
        path.name: names
        for path in paths
        if (names := foreign(ast.parse(path.read_text(encoding="utf-8")), f"uws_service.{package}"))
    }
    assert hits == {}


@pytest.mark.parametrize(
    "line",
    [
        "import httpx2",
        "import os, jinja2.sandbox",
        "from uws_service import depot",
        "from uws_service.store import jobs",
        "from ..store import jobs",
        "def f():\n    from prometheus_client import Counter",
    ],
)
def test_other_imports_are_noticed(line: str) -> None:
    assert foreign(ast.parse(line), "uws_service.domain")


HEAVY = (
    "PIL aiohttp alembic astropy cdshealpix cryptography duckdb jinja2 joserfc kubernetes mako matplotlib numpy pandas "
    "psycopg psycopg_pool pyarrow pyongc scipy sqlglot"
).split()
"""What a service with sites of its own machine alone needs not before somebody asks for it."""
STARTED = """
import asyncio, sys
from uws_service.cli import uvicorn_server
from uws_service.runtime import running
from uws_service.settings import Settings

async def main():
    async with running(Settings.load()) as runtime:
        runtime.backend()
        print(*(name for name in {heavy!r} if name in sys.modules))

asyncio.run(main())
"""


def test_what_a_service_imports_as_it_starts(tmp_path: Path) -> None:
    """A start takes a second as long as it imports no more than this; the first one makes the database's tables."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
    environment = {**clean, "UWS_DATA": str(tmp_path / "data"), "UWS_LOG_LEVEL": "error", "PYTHONPATH": str(ROOT)}
    lines = []
    for _ in range(2):
        started = subprocess.run(
            [sys.executable, "-c", STARTED.format(heavy=HEAVY)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert started.returncode == 0, started.stderr
        lines.append(started.stdout.split())
    first, second = lines
    assert "alembic" in first and second == []
