"""Commands for what a job leaves.

``results`` and ``logs``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import (
    EXIT_FAILURE,
    EXIT_USAGE,
    WIDE_COLUMNS,
    HeaderOption,
    HttpTimeoutOption,
    JobArgument,
    JsonOption,
    Stop,
    TokenOption,
    console,
    guarded,
    one_line,
    open_client,
    print_json,
)
from uws_service.cli.log_tail import LogTail
from uws_service.cli.services import url_of
from uws_service.protocol.file_names import with_ending

if TYPE_CHECKING:
    from uws_service.client import JobDocument, JobLog, JobResult, UwsClient

_STEERING = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
LAST_PHASES = frozenset({"COMPLETED", "ERROR", "ABORTED", "ARCHIVED"})
FOLLOW_SECONDS = 2
"""Between two looks at a log that grows."""


def results(
    job: JobArgument,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Only these results; all by default.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Download into this folder.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """List the results of a job, or download them with -o FOLDER.

    A file is named after the result's id. It appears only when all of it has arrived, with the size (and the SHA-256,
    if the server tells it) of the job's document.
    """
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        document = client.job(url)
        results = _chosen(document, ids or [])
        if output is None:
            _list(results, as_json=as_json)
            return
        files = _names(results, output)
        _check_folder(output, files, force=force)
        sizes = _download(client, results, files)
    if as_json:
        print_json(
            [
                {"id": result.id, "href": result.href, "media_type": result.media_type, "size": size, "path": str(path)}
                for result, path, size in zip(results, files, sizes, strict=True)
            ]
        )
    else:
        for path in files:
            print(path)


def _chosen(job: JobDocument, ids: list[str]) -> list[JobResult]:
    by_id = {result.id: result for result in job.results}
    missing = [result_id for result_id in ids if result_id not in by_id]
    if missing:
        names = ", ".join(by_id) or "none"
        raise Stop(EXIT_FAILURE, f"the job has no result {missing[0]!r}; it has: {names}; its phase is {job.phase}")
    return [by_id[fromkey] for fromkey in dict.fromkeys(ids)] if ids else list(job.results)


def _list(results: list[JobResult], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"id": result.id, "href": result.href, "media_type": result.media_type, "size": result.size}
                for result in results
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("link", no_wrap=True)
    for result in results:
        size = str(result.size) if result.size is not None else ""
        table.add_row(one_line(result.id), one_line(result.media_type or ""), size, one_line(result.href, 4000))
    console(width=WIDE_COLUMNS).print(table)


def _names(results: list[JobResult], folder: Path) -> list[Path]:
    """Return a file for each result.

    Safe in any folder, and no two the same.
    """
    used_names: set[str] = set()
    files = []
    for result in results:
        name = re.sub(r"[^A-Za-z0-9._+-]+", "_", result.id).lstrip(".-")[:150] or "result"
        name = with_ending(name, result.media_type or "")
        base, number = Path(name), 1
        while name.lower() in used_names:
            number += 1
            name = f"{base.stem}-{number}{base.suffix}"
        used_names.add(name.lower())
        files.append(folder / name)
    return files


def _check_folder(folder: Path, files: list[Path], *, force: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Stop(EXIT_USAGE, f"{folder}: {error.strerror}") from None
    existing = [path for path in files if path.exists()]
    if existing and not force:
        raise Stop(EXIT_USAGE, f"{existing[0]} exists already; --force replaces it")


def _download(client: UwsClient, results: list[JobResult], files: list[Path]) -> list[int]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    sizes = []
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        for result, path in zip(results, files, strict=True):
            task = progress.add_task(path.name, total=result.size)

            def moved(received: int, total: int | None, task: int = task) -> None:
                progress.update(task, completed=received, total=total)  # type: ignore[arg-type]

            sizes.append(client.download(result.href, path, size=result.size, sha256=result.sha256, progress=moved))
    return sizes


def logs(
    job: JobArgument,
    stream: Annotated[str, typer.Option("--stream", metavar="NAME", help="stdout, stderr, or both.")] = "both",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on while the job runs, and print what it adds.")
    ] = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Print what a job printed: its standard output on ours, its standard error on ours.

    UWS has no logs; this works with services of our own kind, which link to them in jobInfo.
    """
    if stream not in ("stdout", "stderr", "both"):
        raise typer.BadParameter(f"{stream!r} must be stdout, stderr or both")
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        document = client.job(url)
        if follow:
            tails = {name: LogTail() for name in ("stdout", "stderr") if stream in (name, "both")}
            while document.phase not in LAST_PHASES:
                _print_news(client, document, tails)
                document = client.job(url, wait=FOLLOW_SECONDS, phase=document.phase)
            _print_news(client, document, tails)
            return
        links = [link for link in _links(document) if stream in (link.name, "both")]
        printed = [_print_log(client, result) for result in links]
    if not any(printed):
        raise Stop(EXIT_FAILURE, f"{document.url} has no logs; its phase is {document.phase}")


def _print_news(client: UwsClient, job: JobDocument, tails: dict[str, LogTail]) -> None:
    """Print what the logs have now and had not at the last look."""
    from uws_service.client import ServerError

    for link in _links(job):
        tail = tails.get(link.name)
        if tail is None:
            continue
        try:
            news = tail.news(b"".join(client.read(link.href)))
        except ServerError as error:
            if error.status != 404:
                raise
            continue
        sink = sys.stderr if link.name == "stderr" else sys.stdout
        sink.buffer.write(_STEERING.sub(b"?", news) if sink.isatty() else news)
        sink.flush()


def _links(job: JobDocument) -> list[JobLog]:
    from uws_service.client import JobLog

    if job.logs:
        return list(job.logs)
    return [JobLog(name, f"{job.url.rstrip('/')}/logs/{name}") for name in ("stdout", "stderr")]


def _print_log(client: UwsClient, log: JobLog) -> bool:
    """Copy one log; whether there was one."""
    from uws_service.client import ServerError

    sink = sys.stderr if log.name == "stderr" else sys.stdout
    steering = sink.isatty()
    try:
        for chunk in client.read(log.href):
            sink.buffer.write(_STEERING.sub(b"?", chunk) if steering else chunk)
    except ServerError as error:
        if error.status == 404:
            return False
        raise
    sink.flush()
    return True


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("results")(results)
    app.command("logs", short_help="Print what a job printed.")(logs)
