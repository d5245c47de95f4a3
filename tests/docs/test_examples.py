"""The examples of the documentation run as printed, against a real service.

Marks in the pages, each an HTML comment on the line before a fence:

``<!-- run -->``         a ``console`` block: each line after ``$ `` is run in one shell; the lines below a command
                         are what it must print, ``…`` stands for anything; a block without such lines only has to
                         succeed
``<!-- file: NAME -->``  the block is the content of a file that the page tells the reader to write
``<!-- insert: NAME below: TEXT -->``  the block is inserted into a file, below the first line that begins so
``<!-- serve -->``       a ``console`` block that starts the service, in place of the one before, and leaves it running

Pages talk to ``http://127.0.0.1:8080``; here the service gets a free port instead.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server import free_port

pytestmark = pytest.mark.xdist_group  # each page has a service of its own

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    "tutorial/first-job.md",
    "tutorial/first-application.md",
    "howto/write-an-application.md",
    "howto/data.md",
    "howto/cite-and-repeat.md",
    "howto/operate.md",
    "howto/accounts.md",
    "howto/run-a-network.md",
    "howto/run-behind-a-firewall.md",
    "howto/authenticate.md",
    "howto/publish-images.md",
    "howto/publish-a-catalogue.md",
    "howto/check-a-server.md",
    "howto/srcnet-broker.md",
    "howto/follow-jobs.md",
    "howto/extend.md",
    "explanation/simulation.md",
    "study/together.md",
)
CHECKOUT_PAGES = frozenset({"howto/extend.md"})
"""Pages that change the service itself, in a copy of its sources."""
SOURCES = ("uws_service", "conformance/uws_conformance", "schemas", "docs/examples")
VERSIONS = "uws_service/store/migrations/versions"
FENCE = re.compile(
    r"^<!-- (run|serve|file: \S+|insert: \S+ below: [^\n]+) -->\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
END = "@@end-of-command@@"


@dataclass(frozen=True)
class Block:
    """One marked fence of a page."""

    mark: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the marked fences of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(match.group(1), match.group(3), text.count("\n", 0, match.start(3)) + 1) for match in FENCE.finditer(text)
    ]


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a block with their lines; ``\\`` carries a command on."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and commands[-1][0].endswith("\\") and not commands[-1][1]:
            commands[-1] = (commands[-1][0] + "\n" + line.removeprefix("> "), [])
        elif commands:
            commands[-1][1].append(line)
    return commands


def matches(expected: list[str], printed: str) -> bool:
    """Return whether the output is as expected.

    ``…`` stands for anything, also for several lines.
    """
    pattern = re.escape("\n".join(line.rstrip() for line in expected)).replace("…", ".*?")
    actual = "\n".join(line.rstrip() for line in printed.splitlines())
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def install_checker(folder: Path) -> Path:
    """Install the checker as pip would, offline.

    Test_install.py does it in earnest.
    """
    folder.mkdir()
    program = folder / "uws-conformance"
    program.write_text('#!/bin/sh\nexec python -m uws_conformance "$@"\n')
    program.chmod(0o755)
    return folder


def install_pip(folder: Path, target: Path) -> None:
    """Write a ``pip`` that installs into a folder of its own, without a network, and leaves this environment alone."""
    options = f'--no-deps --no-index --no-build-isolation --target "{target}"'
    program = folder / "pip"
    program.write_text(
        f'#!/bin/sh\ncommand=$1\nshift\nexec python -m pip -q --disable-pip-version-check "$command" {options} "$@"\n'
    )
    program.chmod(0o755)


def copy_sources(folder: Path) -> None:
    """Copy the sources that a page may change."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def insert(path: Path, anchor: str, text: str) -> None:
    """Insert a text below the first line that begins with the anchor, whatever its indentation."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    number = next((n for n, line in enumerate(lines, 1) if line.lstrip().startswith(anchor)), None)
    assert number is not None, f"{path} has no line that begins with {anchor!r}"
    path.write_text("".join([*lines[:number], text, *lines[number:]]), encoding="utf-8")


class Reader:
    """Somebody who follows one page.

    A folder, a shell, and the service that the page starts.
    """

    def __init__(self, folder: Path, *, checkout: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.revision = int(max(path.name for path in (ROOT / VERSIONS).glob("0*.py"))[:4])
        sources = ROOT
        if checkout:
            copy_sources(folder)
            sources = folder
        (folder / ".config").mkdir()  # astropy warns of one that is not there
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UWS_")}
        programs = install_checker(folder / ".bin")
        install_pip(programs, folder / ".site")
        path = f"{programs}:{Path(sys.executable).parent}:{clean.get('PATH', '')}"
        self.environment = {
            **clean,
            "PATH": path,
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "XDG_CONFIG_HOME": str(folder / ".config"),
            "PYTHONPATH": f"{sources}:{sources / 'conformance'}:{folder / '.site'}",
            "PYTEST_PLUGINS": "uws_conformance.pytest_plugin",
        }
        self.service: subprocess.Popen[bytes] | None = None
        self.shell: subprocess.Popen[str] = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def here(self, text: str) -> str:
        """Return a text with this run's port and revisions."""
        for old, new in (
            ("127.0.0.1:8080", f"127.0.0.1:{self.port}"),
            ("--port 8080", f"--port {self.port}"),
            ("0098", f"{self.revision:04}"),
            ("0099", f"{self.revision + 1:04}"),
        ):
            text = text.replace(old, new)
        return text

    def run(self, command: str) -> tuple[int, str]:
        """Run one command in the page's shell."""
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.write(f"{self.here(command)}\nprintf '\\n%s %s\\n' '{END}' $?\n")
        self.shell.stdin.flush()
        printed: list[str] = []
        for line in self.shell.stdout:
            if line.startswith(END):
                return int(line.split()[1]), "".join(printed).removesuffix("\n")
            printed.append(line)
        raise AssertionError(f"the shell ended in {command!r}:\n{''.join(printed)}")

    def serve(self, command: str) -> None:
        """Start the service with a page's command."""
        self.stop_service()
        log = (self.folder / "service.log").open("ab")
        with log:
            self.service = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self.service.poll() is None, (self.folder / "service.log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError((self.folder / "service.log").read_text())

    def leave(self) -> None:
        """Stop the shell and the service."""
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.close()
        try:
            self.shell.wait(120)
        except subprocess.TimeoutExpired:
            self.shell.kill()
            self.shell.wait()
        self.shell.stdout.close()
        self.stop_service()

    def stop_service(self) -> None:
        """End the service that runs, if there is one."""
        if self.service is not None:
            os.killpg(self.service.pid, signal.SIGTERM)
            try:
                self.service.wait(120)
            except subprocess.TimeoutExpired:
                os.killpg(self.service.pid, signal.SIGKILL)
                self.service.wait()
            self.service = None


@pytest.fixture
def reader(tmp_path: Path, page: str) -> Iterator[Reader]:
    """Yield a reader in an empty folder, or in one with the sources."""
    reader = Reader(tmp_path, checkout=page in CHECKOUT_PAGES)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, reader: Reader) -> None:
    """Follow the page to its end."""
    if shutil.which("curl") is None:
        message = "curl is not installed"
        pytest.fail(message) if os.environ.get("UWS_TEST_REQUIRE") == "all" else pytest.skip(message)
    page_blocks = blocks(page)
    assert any(block.mark == "run" for block in page_blocks), f"{page} has no example that runs"
    for block in page_blocks:
        place = f"docs/{page}:{block.line}"
        if block.mark.startswith("file: "):
            target = reader.folder / reader.here(block.mark.removeprefix("file: "))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(reader.here(block.text), encoding="utf-8")
            continue
        if block.mark.startswith("insert: "):
            name, _, anchor = block.mark.removeprefix("insert: ").partition(" below: ")
            insert(reader.folder / name, anchor, block.text)
            continue
        for command, expected in commands(block):
            if block.mark == "serve":
                reader.serve(reader.here(command))
                continue
            status, printed = reader.run(command)
            assert status == 0, f"{place}: {command}\nended with {status}:\n{printed}"
            if expected:
                expected_lines = [reader.here(line) for line in expected]
                expected_text = "\n".join(expected_lines)
                assert matches(expected_lines, printed), (
                    f"{place}: {command}\nprinted:\n{printed}\ninstead of:\n{expected_text}"
                )


def test_expectations_can_fail() -> None:
    """The comparison is no rubber stamp."""
    assert matches(["PHASE …", "end"], "PHASE QUEUED\nend\n")
    assert matches(["a", "…", "z"], "a\nb\nc\nz")
    assert not matches(["COMPLETED"], "ERROR")
    assert not matches(["COMPLETED"], "COMPLETED\nmore")
