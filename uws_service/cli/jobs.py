"""Commands for jobs at any UWS service.

``submit``, ``run``, ``wait``, ``list``, ``show``, ``abort``, ``delete``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import (
    HeaderOption,
    HttpTimeoutOption,
    JobArgument,
    JobsArgument,
    JsonOption,
    Stop,
    TokenOption,
    console,
    guarded,
    note,
    one_line,
    open_client,
    print_json,
)
from uws_service.cli.services import at_job_list, complete_place, current_service, url_of
from uws_service.cli.show import ended, job_json, print_job, print_list, watch
from uws_service.cli.values import after_instant, destruction_instant, duration_seconds, pair

if TYPE_CHECKING:
    from uws_service.client import JobDocument, Upload, UwsClient

TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait no longer than this.", show_default=False),
]
DurationOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Longest run, such as 90 (seconds), 30m or 2h.", show_default=False),
]
DestructionOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Deletion: 2030-01-31T12:00:00Z, or 2d from now.", show_default=False),
]


def submit(
    url: JobsArgument,
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Parameters of the job.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=@PATH", help="Send a file as the parameter NAME; may be repeated."),
    ] = None,
    upload: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE=PATH|URL", help="Send a table, or name its URL, by UPLOAD; may be repeated."),
    ] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Start the job.")] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the job.")] = False,
    timeout: TimeoutOption = None,
    run_id: Annotated[str | None, typer.Option(metavar="TEXT", help="A name for the job.", show_default=False)] = None,
    duration: DurationOption = None,
    destruction: DestructionOption = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Requests with one key make one job. By default a random key.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Make a job, start it, and print its URL.

    If the connection breaks, the request is sent once more with the same Idempotency-Key, so that a service that
    knows this header makes no second job. The job is started by a request of its own: what another service may make
    twice is at most an idle job.
    """
    if wait and not run:
        raise typer.BadParameter("--wait makes no sense with --no-run")
    url = url_of(url)
    fields, uploads = _request(parameters or [], file or [], upload or [])
    seconds = duration_seconds(duration) if duration is not None else None
    instant = destruction_instant(destruction) if destruction is not None else None
    with guarded(), open_client(url, header, http_timeout, token) as client:
        job = at_job_list(
            client,
            url,
            lambda place: client.create(place, fields, uploads, run_id=run_id, idempotency_key=idempotency_key),
        )
        with guarded(after=f"; the job was made: {job}"):
            _prepare(client, job, seconds, instant, run=run)
        document = client.job(job) if as_json and not wait else None
        if fields or uploads:
            _print_notices(client, job, document)
        if document is not None:
            print_json(job_json(document))
        elif not as_json:
            print(job, flush=True)
        if wait:
            _wait(client, job, timeout, as_json=as_json)


def _request(parameters: list[str], files: list[str], tables: list[str]) -> tuple[list[tuple[str, str]], list[Upload]]:
    """Return the fields and the files of the request that makes a job."""
    fields = [pair(word) for word in parameters]
    uploads = [_file(word) for word in files]
    used_names = {name.upper() for name, _ in fields} | {upload.name.upper() for upload in uploads}
    sent_tables, entries = _tables(tables, used_names)
    if entries:
        fields.append(("UPLOAD", ";".join(entries)))  # one value: some servers know no repeated UPLOAD (C-17)
    return fields, [*uploads, *sent_tables]


def _prepare(client: UwsClient, job: str, seconds: int | None, instant: int | None, *, run: bool) -> None:
    """Set what was asked for a new job, and start it."""
    if seconds is not None:
        client.set_duration(job, seconds)
    if instant is not None:
        client.set_destruction(job, instant)
    if run:
        client.run(job)


def _print_notices(client: UwsClient, job: str, document: JobDocument | None) -> None:
    """Say on standard error what the server finds strange in the request; a job is made whatever becomes of this."""
    from uws_service.client import ClientError

    with suppress(ClientError):
        for notice in (document or client.job(job)).notices:
            note(one_line(notice, 400))


def _file(word: str) -> Upload:
    from uws_service.client import Upload

    name, value = pair(word)
    path = Path(value.removeprefix("@")).expanduser()
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    return Upload(name, path)


def _tables(words: list[str], used_names: set[str]) -> tuple[list[Upload], list[str]]:
    """Return the files to send, and the entries of UPLOAD that name them (D-026)."""
    from uws_service.client import Upload

    uploads: list[Upload] = []
    entries: list[str] = []
    for word in words:
        name, value = pair(word)
        if re.search(r"[;,]", name):
            raise typer.BadParameter(f"the table's name {name!r} must have no ',' or ';'")
        if re.match(r"(?i)[a-z][a-z0-9+-]*://", value):
            entries.append(f"{name},{value}")
            continue
        path = _file(word).path
        part = name if name.upper() not in used_names else f"upload_{name}"
        used_names.add(part.upper())
        uploads.append(Upload(part, path))
        entries.append(f"{name},param:{part}")
    return uploads, entries


def _wait(client: UwsClient, job: str, timeout: float | None, *, as_json: bool) -> None:
    document = watch(client, job, timeout)
    detail = client.error_text(document) if document.error is not None and document.error.has_detail else ""
    if as_json:
        print_json(job_json(document))
    code, message = ended(document, detail)
    raise Stop(code, message)


def run(
    job: JobArgument,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Start a job that was made with --no-run."""
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        client.run(url)
        if as_json:
            print_json(job_json(client.job(url)))


def wait(
    job: JobArgument,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Wait for the end of a job and show its progress.

    The server is asked to answer when the phase changes (WAIT with PHASE); a server of UWS 1.0, which can't do that, is
    asked at growing intervals.
    """
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        _wait(client, url, timeout, as_json=as_json)


def list_jobs(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="URL of the job list or of the application; by default all your jobs at the service in use.",
            show_default=False,
            autocompletion=complete_place,
        ),
    ] = None,
    phase: Annotated[
        list[str] | None, typer.Option(metavar="PHASE", help="Only jobs in this phase; may be repeated.")
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Only jobs made after 2026-01-31T12:00:00Z, or within the last 2h.", show_default=False
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest N jobs.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """List jobs."""
    instant = after_instant(after) if after is not None else None
    from uws_service.client.all_jobs import all_jobs

    root = current_service() if url is None else ""
    place = f"{root}/jobs" if url is None else url_of(url)
    with guarded(), open_client(place, header, http_timeout, token) as client:
        if url is None:
            listing = all_jobs(client.http, place, phases=phase or (), after=instant, last=last)
        else:
            listing = at_job_list(
                client, place, lambda place: client.jobs(place, phases=phase or (), after=instant, last=last)
            )
    print_list(listing, as_json=as_json)


def show(
    job: JobArgument,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Show a job: phase, times, parameters, results, error."""
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        document = client.job(url)
        detail = client.error_text(document) if document.error is not None and document.error.has_detail else ""
    if as_json:
        print_json(job_json(document))
    else:
        print_job(console(), document, detail)


def abort(
    job: JobArgument,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Stop a job; it stays in the list as ABORTED."""
    url = url_of(job)
    with guarded(), open_client(url, header, http_timeout, token) as client:
        client.abort(url)
        if as_json:
            print_json(job_json(client.job(url)))


def delete(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="URLs of jobs.", show_default=False)],
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Delete jobs with their results.

    A running job is stopped.
    """
    urls = [url_of(job) for job in jobs]
    for url in urls:
        with guarded(), open_client(url, header, http_timeout, token) as client:
            client.delete(url)
        if not as_json:
            note(f"deleted {url}")
    if as_json:
        print_json({"deleted": urls})


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("submit")(submit)
    app.command("run")(run)
    app.command("wait")(wait)
    app.command("list")(list_jobs)
    app.command("show")(show)
    app.command("abort")(abort)
    app.command("delete")(delete)
