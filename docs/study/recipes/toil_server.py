"""Toil from the package registry: a server of GA4GH's WES on the loopback address, which runs CWL.

Its own way wants Celery with RabbitMQ; here a process for each run takes their place (``--bypass_celery``).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import httpx2
import wes
from recipe import TOIL, Daemon, Show, main, resident

from tests.server import free_port

ECHO = """\
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [echo, hello]
inputs: []
outputs: {said: {type: stdout}}
stdout: said.txt
"""
OPTIONS = {
    "workflow_type": "CWL",
    "workflow_type_version": "v1.2",
    "workflow_engine_parameters": json.dumps({"--no-container": None, "--disableCaching": None}),
}
PREFIX = "/ga4gh/wes/v1"


def measure(folder: Path, show: Show) -> None:
    """Start the server, run an echo, and show the figures."""
    programs = TOIL.build() / "bin"
    url = f"http://127.0.0.1:{free_port()}"
    work = folder / "work"
    work.mkdir()
    words = ["server", "--bypass_celery", "--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--work_dir", work]
    # It starts toil-cwl-runner by its bare name.
    variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    began = time.perf_counter()
    with Daemon(folder, "toil", [programs / "toil", *words], variables) as server:
        server.answer(f"{url}{PREFIX}/service-info")
        show("toil.start", time.perf_counter() - began, "s")
        show("toil.memory", resident(server.processes()), "MiB")
        show("toil.parts", len(server.processes()), "processes")
        with httpx2.Client(base_url=f"{url}{PREFIX}", timeout=60, trust_env=False) as client:
            began = time.perf_counter()
            run = wes.submit(client, "echo.cwl", ECHO, OPTIONS)
            wes.wait(client, run, "COMPLETE")
            show("toil.job", time.perf_counter() - began, "s for a workflow of one echo")


if __name__ == "__main__":
    main(__doc__, measure, TOIL)
