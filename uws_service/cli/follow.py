"""Following many jobs on one connection, and opening one in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from uws_service.cli.common import (
    EXIT_JOB,
    HeaderOption,
    HttpTimeoutOption,
    JobArgument,
    JsonOption,
    Stop,
    TokenOption,
    console,
    guarded,
    note,
    one_line,
    open_client,
)
from uws_service.cli.services import complete_place, current_service, job_list, url_of
from uws_service.cli.show import COLOURS
from uws_service.domain.job import FINAL

if TYPE_CHECKING:
    from uws_service.client.events import ServerEvent

LAST_PHASES = frozenset(phase.value for phase in FINAL)


def watch(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URL]...",
            help="Jobs, or one application or service; by default all of yours at the service in use.",
            show_default=False,
            autocompletion=complete_place,
        ),
    ] = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End once all of these jobs, or those that run now, have ended.")
    ] = False,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Follow jobs as they change, all on one connection; of jobs that are named, until they have ended.

    Works with services of our own kind. A connection that is cut is opened again where it was. With --json each event
    is one line. The exit code is 1 if a job that was named did not end well.
    """
    urls = [url_of(place) for place in places or []]
    with guarded(), open_client(urls[0] if urls else current_service(), header, http_timeout, token) as client:
        from uws_service.client.events import follow

        stream, jobs = _stream(client, urls)
        watching = _Watching(jobs, until_done=until_done or bool(jobs), as_json=as_json)
        for event in follow(client.http, stream):
            if watching.take(event):
                break
    if watching.failures:
        raise Stop(EXIT_JOB, f"{watching.failures} of {len(jobs) or 'the'} jobs did not end well")


def _stream(client: Any, urls: list[str]) -> tuple[str, list[str]]:
    """Return the URL of the stream that tells of these places, and the jobs among them."""
    if not urls:
        return f"{current_service()}/events", []
    jobs = [url.rstrip("/") for url in urls if _is_job(url)]
    if len(urls) == 1:
        url = urls[0].rstrip("/")
        if jobs:
            return f"{url}/events", jobs
        is_root = urlsplit(url).path.rstrip("/") == ""
        return (f"{url}/events" if is_root else f"{job_list(client, url).rstrip('/')}/events"), []
    if len(jobs) < len(urls):
        raise typer.BadParameter("name several jobs, or one application or service")
    roots = {job.rsplit("/", 3)[0] for job in jobs}
    if len(roots) > 1:
        raise typer.BadParameter("the jobs must be at one service")
    return f"{roots.pop()}/events", jobs


def _is_job(url: str) -> bool:
    parts = urlsplit(url).path.rstrip("/").split("/")
    return len(parts) > 2 and parts[-2] == "async"


class _Watching:
    """What is shown, and which jobs are still awaited."""

    def __init__(self, jobs: Iterable[str], *, until_done: bool, as_json: bool) -> None:
        self.waiting: set[str] | None = set(jobs) or None
        self.named_jobs = frozenset(self.waiting or ())
        self.until_done = until_done
        self.as_json = as_json
        self.failures = 0
        self._phases: dict[str, str] = {}
        self._out = console()

    def take(self, event: ServerEvent) -> bool:
        """Show an event; return whether all is over."""
        data = event.data
        if isinstance(data.get("jobs"), list):
            entries = [entry for entry in data["jobs"] if isinstance(entry, dict)]
            if self.waiting is None:
                self.waiting = {str(entry.get("job")) for entry in entries if entry.get("phase") not in LAST_PHASES}
                if not self.until_done:
                    note(f"{len(self.waiting)} of your {len(entries)} newest jobs have not ended")
        else:
            entries = [data]
        for entry in entries:
            self._entry(event.name, entry)
        return self.until_done and not self.waiting

    def _entry(self, name: str, entry: dict[str, Any]) -> None:
        job, phase = str(entry.get("job", "")), str(entry.get("phase", ""))
        is_state = name in ("jobs", "reset")
        if (self.named_jobs and job not in self.named_jobs) or (is_state and not self.named_jobs):
            return
        if self.as_json:
            print(json.dumps({**entry, "event": entry.get("event", name)}, ensure_ascii=False), flush=True)
        elif name == "progress":
            self._line(job, f"{_percent(entry.get('progress'))} {entry.get('message') or ''}", "", entry)
        elif self._phases.get(job) != phase or name == "deleted":
            self._phases[job] = phase
            self._line(job, "deleted" if name == "deleted" else phase, COLOURS.get(phase, ""), entry)
        if self.waiting and job in self.waiting and (phase in LAST_PHASES or name == "deleted"):
            self.waiting.discard(job)
            self.failures += bool(self.named_jobs) and phase != "COMPLETED"

    def _line(self, job: str, words: str, style: str, entry: dict[str, Any]) -> None:
        from rich.text import Text

        at = one_line(str(entry.get("at") or ""), 30)
        text = Text.assemble((f"{at:<24}  ", "dim"), (f"{one_line(words, 60):<10}", style), f"  {one_line(job, 4000)}")
        self._out.print(text, soft_wrap=True)


def _percent(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else ""


def open_job(job: JobArgument, as_json: JsonOption = False) -> None:
    """Open the page of a job, or of an application, in the browser."""
    import webbrowser

    from uws_service.cli.common import EXIT_FAILURE, print_json

    url = url_of(job)
    is_open = webbrowser.open(url)
    if as_json:
        print_json({"url": url, "opened": is_open})
    else:
        print(url)
    if not is_open:
        raise Stop(EXIT_FAILURE, "no browser could be started; the page is at this URL")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("watch")(watch)
    app.command("open")(open_job)
