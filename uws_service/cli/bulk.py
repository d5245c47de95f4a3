"""``bulk``: a job for each row of a table, and a bar that shows how far they all are."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import (
    EXIT_JOB,
    EXIT_TIMEOUT,
    HeaderOption,
    HttpTimeoutOption,
    JsonOption,
    Stop,
    TokenOption,
    console,
    guarded,
    note,
    open_client,
    print_json,
)
from uws_service.cli.jobs import TimeoutOption
from uws_service.cli.services import url_of
from uws_service.cli.values import pair

if TYPE_CHECKING:
    from uws_service.client import UwsClient

PAUSE_SECONDS = 2.0
"""Seconds between two looks at the list."""
ENDED = ("COMPLETED", "ERROR", "ABORTED")


def bulk(
    url: Annotated[str, typer.Argument(metavar="URL", help="The application, such as https://host/sleep.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", exists=True, dir_okay=False, help="A CSV file.")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Parameters that all jobs have.", show_default=False),
    ] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Start the jobs.")] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of all of them.")] = False,
    timeout: TimeoutOption = None,
    run_id: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A name for all of the jobs.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 120.0,
) -> None:
    """Make a job for each row of a table, and print the URL of their list.

    The table's first line has names of parameters. All jobs are made, or none: a table with a wrong row is refused.
    """
    if wait and not run:
        raise typer.BadParameter("--wait makes no sense with --no-run")
    fields = [pair(word) for word in parameters or []]
    place = url_of(url)
    with guarded(), open_client(place, header, http_timeout, token) as client:
        listed = client.create_many(place, table, fields, run=run, run_id=run_id)
        if not as_json:
            print(listed, flush=True)
        phases: Counter[str] = Counter()
        if wait:
            phases = _wait(client, listed, timeout)
        elif as_json:
            phases.update(job.phase for job in client.jobs(listed).jobs)
        if as_json:
            print_json({"jobs": listed, "phases": dict(sorted(phases.items()))})
    if wait and phases["COMPLETED"] != phases.total():
        words = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
        raise Stop(EXIT_JOB, f"not all ended well: {words}")


def _wait(client: UwsClient, listed: str, timeout: float | None) -> Counter[str]:
    """Look at the list until all have ended; how many are in each phase."""
    from rich.progress import Progress

    end = time.monotonic() + timeout if timeout is not None else None
    summary = ""
    with Progress(console=console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("", total=None)
        while True:
            phases = Counter(job.phase for job in client.jobs(listed).jobs)
            over = sum(phases[phase] for phase in ENDED)
            words = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
            progress.update(bar, total=phases.total(), completed=over, description=words)
            if progress.disable and words != summary:
                note(words)
                summary = words
            if over == phases.total():
                break
            if end is not None and time.monotonic() > end:
                raise Stop(EXIT_TIMEOUT, f"not all have ended: {words}")
            time.sleep(PAUSE_SECONDS)
    return phases


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("bulk")(bulk)
