"""How jobs are shown.

Tables for people, JSON for machines, a moving line while one waits.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from uws_service.cli.common import (
    EXIT_JOB,
    EXIT_OK,
    EXIT_TIMEOUT,
    WIDE_COLUMNS,
    Stop,
    console,
    note,
    one_line,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from uws_service.client import JobDocument, JobList, UwsClient

INSTANTS = ("quote", "created", "started", "ended", "destruction")
LIVE_SECONDS = 2
"""Time between two looks at the progress while a person watches."""
COLOURS = {"COMPLETED": "green", "ERROR": "red", "ABORTED": "yellow", "EXECUTING": "cyan"}


def job_json(job: JobDocument) -> dict[str, Any]:
    """Return a job for machines.

    Instants as ISO 8601 in UTC, durations in seconds, sizes in bytes.
    """
    from uws_service.client import format_instant

    document = asdict(job)
    for name in INSTANTS:
        document[name] = format_instant(document[name]) if document[name] is not None else None
    return document


def print_list(listing: JobList, *, as_json: bool) -> None:
    """Print a job list on standard output."""
    from uws_service.client import format_instant

    rows = [{**asdict(job), "created": format_instant(job.created) if job.created else None} for job in listing.jobs]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    columns = [("phase", "created", "run id", "owner")]
    for job in listing.jobs:
        created = format_instant(job.created) if job.created is not None else ""
        columns.append((one_line(job.phase), created, one_line(job.run_id or ""), one_line(job.owner or "")))
    widths = [max(map(len, cells)) for cells in zip(*columns, strict=True)]
    longest = max((len(job.url) for job in listing.jobs), default=0)
    # Where a URL does not fit beside the rest, it has a line of its own: one that is broken can't be copied.
    is_narrow = out.is_terminal and sum(widths) + 2 * len(widths) + longest > out.width
    if is_narrow:
        _print_narrow(out, listing, columns, widths)
    else:
        table = Table(box=None, pad_edge=False)
        for heading in (*columns[0], "job"):
            table.add_column(heading, no_wrap=True)
        for job, (phase, *cells) in zip(listing.jobs, columns[1:], strict=True):
            table.add_row(Text(phase, style=COLOURS.get(job.phase, "")), *cells, one_line(job.url, 4000))
        console(width=WIDE_COLUMNS).print(table)
    note(f"{len(listing.jobs)} job{'s' if len(listing.jobs) != 1 else ''}")


def _print_narrow(out: Console, listing: JobList, columns: Sequence[tuple[str, ...]], widths: list[int]) -> None:
    """Print two lines for each job.

    What is known of it, and its URL, whole.
    """
    from rich.text import Text

    def line(cells: tuple[str, ...]) -> str:
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        return text if len(text) <= out.width else text[: out.width - 1] + "…"

    out.print(Text(line(columns[0]), style="bold"), soft_wrap=True)
    for job, cells in zip(listing.jobs, columns[1:], strict=True):
        out.print(Text(line(cells), style=COLOURS.get(job.phase, "")), soft_wrap=True)
        out.print(Text(f"  {one_line(job.url, 4000)}"), soft_wrap=True)


def print_job(out: Console, job: JobDocument, detail: str = "") -> None:
    """Print one job in full on standard output."""
    from rich.text import Text

    from uws_service.client import format_instant

    rows: list[tuple[str, str, str]] = []

    def row(name: str, value: str | None, style: str = "") -> None:
        if value:
            rows.append((name, one_line(value, 4000), style))

    row("job", job.url)
    row("phase", job.phase, COLOURS.get(job.phase, ""))
    row("run id", job.run_id)
    row("owner", job.owner)
    for name in INSTANTS[1:]:
        value = getattr(job, name)
        row(name, format_instant(value) if value is not None else None)
    row("quote", format_instant(job.quote) if job.quote is not None else None)
    if job.duration is not None:
        row("duration", f"{job.duration} s" if job.duration else "no limit")
    row("site", job.site)
    row("why there", job.site_reason)
    row("data", job.data)
    row("share", job.share)
    row("progress", progress_text(job))
    for parameter in job.parameters:
        row(f"  {one_line(parameter.name, 40)}", parameter.value)
    sent_names = {parameter.name.upper() for parameter in job.parameters}
    for name, value in job.defaults:
        row(f"  {one_line(name, 40)}", f"{value} ({'limit' if name.upper() in sent_names else 'default'})")
    for name, version in job.versions:
        row(f"{one_line(name, 40)} version", version)
    for notice in job.notices:
        row("notice", notice, "yellow")
    for result in job.results:
        facts = ", ".join(
            fact for fact in (result.media_type, f"{result.size} bytes" if result.size is not None else None) if fact
        )
        row(f"result {one_line(result.id, 40)}", f"{result.href}{f' ({facts})' if facts else ''}")
    for log in job.logs:
        row(f"log {one_line(log.name, 40)}", log.href)
    if job.error is not None:
        row("error", f"{job.error.message} ({'transient' if job.error.transient else 'fatal'})", "red")
        row("detail", detail if detail != job.error.message else "")
    width = max(len(name) for name, _, _ in rows)
    for name, value, style in rows:
        lines = [value]
        if out.is_terminal and "://" not in value:  # a URL is left to the terminal, which wraps and copies it whole
            lines = textwrap.wrap(value, max(20, out.width - width - 2)) or [""]
        for number, line in enumerate(lines):
            heading = "" if number else name
            out.print(Text.assemble((heading.ljust(width), "bold"), "  ", (line, style)), soft_wrap=True)


def progress_text(job: JobDocument) -> str:
    """Return ``42 % some words``, as far as the server tells."""
    percent = f"{job.progress:.0%}".replace("%", " %") if job.progress is not None else ""
    return " ".join(part for part in (percent, one_line(job.message, 200)) if part)


def ended(job: JobDocument, detail: str = "") -> tuple[int, str]:
    """Exit code, and what to say on standard error, for a job that one waited for."""
    if job.phase == "COMPLETED":
        return EXIT_OK, ""
    if job.phase in ("PENDING", "HELD"):
        return EXIT_JOB, f"{job.url} is {job.phase}: it will not start until it is told to (uws-service run {job.url})"
    reason = job.error.message if job.error is not None else ""
    if detail and reason not in detail:
        reason = f"{reason} ({detail})" if reason else detail
    return (
        EXIT_JOB,
        f"{job.url} ended in {job.phase}{': ' if reason else ''}{detail if reason in detail and reason else reason}",
    )


def watch(client: UwsClient, job: str, timeout: float | None) -> JobDocument:
    """Wait for a job.

    On a terminal with a moving line, else with one line for each phase.
    """
    from uws_service.client import WaitTimeout

    try:
        if sys.stderr.isatty():
            return _watch_live(client, job, timeout)
        return _watch_lines(client, job, timeout)
    except WaitTimeout as error:
        raise Stop(EXIT_TIMEOUT, error.message) from None


def _watch_lines(client: UwsClient, job: str, timeout: float | None) -> JobDocument:
    phase = ""

    def changed(document: JobDocument) -> None:
        nonlocal phase
        if document.phase != phase:
            phase = document.phase
            note(f"{document.phase} {progress_text(document)}".rstrip())

    return client.wait(job, timeout=timeout, on_change=changed)


def _watch_live(client: UwsClient, job: str, timeout: float | None) -> JobDocument:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[phase]}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task("", total=None, phase="…", words="")

        def changed(document: JobDocument) -> None:
            is_completed = document.phase == "COMPLETED"
            fraction = 1.0 if is_completed else document.progress
            progress.update(
                task,
                total=1.0 if fraction is not None else None,
                completed=fraction or 0.0,
                phase=one_line(document.phase, 20),
                words=progress_text(document),
            )

        return client.wait(job, timeout=timeout, interval=LIVE_SECONDS, on_change=changed)
