"""TOPCAT loads a job's result, on a screen of its own.

It is controlled by SAMP.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pyvo
from PIL import Image, ImageChops, ImageGrab
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient

from tests.server import Server
from tests.tiers import require

QUERY = "SELECT name, type, ra, dec, vmag FROM openngc.objects WHERE vmag < 10"
SCREENSHOT = os.environ.get("UWS_TOPCAT_SCREENSHOT", "")
"""Where to keep the picture of the window, as for the documentation."""


@dataclass
class Topcat:
    """TOPCAT as a client of a SAMP hub."""

    client: SAMPIntegratedClient
    name: str
    display: str

    def ask(self, message: str, **parameters: str) -> dict[str, Any]:
        """Send a message; return the answer."""
        answer: dict[str, Any] = self.client.ecall_and_wait(self.name, message, "60", **parameters)
        return answer

    def has_row(self, table: str, row: int) -> bool:
        """Return whether the table is loaded and has the row."""
        answer = self.ask("table.highlight.row", **{"table-id": table, "row": str(row)})
        return bool(answer["samp.status"] == "samp.ok")

    def window(self) -> Image.Image:
        """Return a picture of the screen, without empty margins."""
        screen = ImageGrab.grab(xdisplay=self.display)
        return screen.crop(ImageChops.difference(screen, Image.new("RGB", screen.size)).getbbox())

    def at_rest(self) -> bool:
        """Return whether the window is unchanged for a second."""
        before = self.window()
        time.sleep(1)
        return same(before, self.window())


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture
def display() -> Iterator[str]:
    """Start a screen in memory; return its name."""
    read_end, write_end = os.pipe()
    arguments = ["-displayfd", str(write_end), "-screen", "0", "1024x700x24", "-nolisten", "tcp"]
    with ended(subprocess.Popen([require("Xvfb"), *arguments], pass_fds=[write_end], stderr=subprocess.DEVNULL)):
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            yield f":{pipe.readline().strip()}"


@pytest.fixture
def topcat(display: str, tmp_path: Path) -> Iterator[Topcat]:
    """Start TOPCAT and wait for its SAMP client."""
    program = require("topcat")
    lock = tmp_path / "samp"
    hub = SAMPHubServer(lockfile=str(lock), addr="127.0.0.1", web_profile=False)
    hub.start()
    client = SAMPIntegratedClient(addr="127.0.0.1")
    client.connect(hub=hub)
    environment = {**os.environ, "DISPLAY": display, "SAMP_HUB": f"std-lockurl:file://{lock}"}
    try:
        with (
            (tmp_path / "log").open("wb") as log,
            ended(subprocess.Popen([program, f"-Duser.home={tmp_path}", "-nohub"], env=environment, stderr=log)),
        ):
            clients = until(lambda: client.get_subscribed_clients("table.load.votable"), "TOPCAT")
            yield Topcat(client, next(iter(clients)), display)
    finally:
        client.disconnect()
        hub.stop()


def same(first: Image.Image, second: Image.Image) -> bool:
    """Return whether two pictures are the same."""
    return first.size == second.size and ImageChops.difference(first, second).getbbox() is None


def until(check: Callable[[], Any], label: str) -> Any:
    """Wait for the first true answer of a check."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited for {label}")


# On a busy machine the hub gives a program up that does not hear in time; what it then says is no fault of ours.
@pytest.mark.filterwarnings("ignore::pyvo.samp.errors.SAMPWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_topcat_loads_a_result(server: Server, topcat: Topcat) -> None:
    """It loads results by URL, and rejects errors."""
    job = pyvo.dal.TAPService(f"{server.url}/tap").submit_job(QUERY)
    job.run().wait(timeout=240)
    job.raise_if_error()
    rows = len(job.fetch_result())
    empty = topcat.window()
    loaded = topcat.ask("table.load.votable", **{"url": job.result_uri, "name": "Bright objects", "table-id": "bright"})
    assert loaded["samp.status"] == "samp.ok", loaded
    until(lambda: topcat.has_row("bright", rows - 1), "the last row in the window")
    assert not topcat.has_row("bright", rows) and not topcat.has_row("other", 0)
    until(lambda: not same(empty, topcat.window()), "the window to change")
    if SCREENSHOT:
        until(topcat.at_rest, "the window to come to rest")
        topcat.window().quantize(64).save(SCREENSHOT, optimize=True)
    wrong = f"{server.url}/tap/sync?LANG=ADQL&QUERY=SELECT+nme+FROM+openngc.objects"
    failed = topcat.ask("table.load.votable", url=wrong)
    assert failed["samp.status"] == "samp.error" and "400" in failed["samp.error"]["samp.errortxt"]
