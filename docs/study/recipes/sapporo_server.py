"""Sapporo from the package registry: a server of GA4GH's WES on the loopback address, with SQLite.

Its own script starts an engine in Docker. Here ``sapporo_run.sh`` takes its place; a workflow is a shell script.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import wes
from recipe import SAPPORO, Daemon, Show, main, resident

from tests.server import free_port

OPTIONS = {
    "workflow_type": "CWL",
    "workflow_type_version": "v1.2",
    "workflow_engine": "cwltool",
    "workflow_engine_version": "3.1",
}
"""It checks them against the engines that it knows."""


def measure(folder: Path, show: Show) -> None:
    """Start the server, run a script and cancel another one, and show the figures."""
    programs = SAPPORO.build() / "bin"
    url = f"http://127.0.0.1:{free_port()}"
    runs = folder / "runs"
    runs.mkdir()
    script = Path(__file__).with_name("sapporo_run.sh")
    words = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--run-dir", runs, "--run-sh", script]
    variables = {"SAPPORO_CLI": str(programs / "sapporo-cli")}
    began = time.perf_counter()
    with Daemon(folder, "sapporo", [programs / "sapporo", *words], variables) as server:
        server.answer(f"{url}/service-info")
        show("sapporo.start", time.perf_counter() - began, "s")
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
            began = time.perf_counter()
            run = wes.submit(client, "job.sh", 'echo hello; echo result > "$OUTPUT_FOLDER/a.txt"\n', OPTIONS)
            wes.wait(client, run, "COMPLETE")
            show("sapporo.job", time.perf_counter() - began, "s from the request to the end of a program")
            document = client.get(f"/runs/{run}").json()
            assert document["run_log"]["exit_code"] == 0, document
            assert "a.txt" in client.get(f"/runs/{run}/outputs").text
            run = wes.submit(client, "long.sh", "sleep 600\n", OPTIONS)
            wes.wait(client, run, "RUNNING")
            client.post(f"/runs/{run}/cancel").raise_for_status()
            wes.wait(client, run, "CANCELED")
        show("sapporo.memory", resident(server.processes()), "MiB")
        show("sapporo.parts", len(server.processes()), "process")


if __name__ == "__main__":
    main(__doc__, measure, SAPPORO)
