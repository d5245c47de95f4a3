"""Commands for jobs that are done anew: ``rerun``, ``verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uws_service.cli.common import (
    EXIT_JOB,
    HeaderOption,
    HttpTimeoutOption,
    JobArgument,
    JsonOption,
    Stop,
    TokenOption,
    guarded,
    note,
    one_line,
    open_client,
    print_json,
)
from uws_service.cli.show import ended, watch
from uws_service.cli.values import url_of

if TYPE_CHECKING:
    from uws_service.client import JobDocument, UwsClient
    from uws_service.client.rerun import Compared, RerunPlan

AcceptOption = Annotated[
    bool,
    typer.Option("--accept-differences", help="Do it also if the application is not of the same version any more."),
]


def rerun(
    job: JobArgument,
    run: Annotated[bool, typer.Option("--run", help="Start the new job.")] = False,
    accept: AcceptOption = False,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Make a job anew from the record of an earlier one, and print its URL.

    It gets the same image by its digest, the same parameters and the same inputs by their checksums. What is no longer
    there is listed, and no job is made then. This works at a uws-service only.
    """
    from uws_service.client.rerun import rerun as make

    with guarded(), open_client(url_of(job), header, http_timeout, token) as client:
        _plan(client, url_of(job), accept)
        created = make(client, url_of(job), run=run, accept=accept)
    if as_json:
        print_json({"job": created, "from": url_of(job)})
    else:
        print(created, flush=True)


def verify(
    job: JobArgument,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait no longer than this.", show_default=False),
    ] = None,
    accept: AcceptOption = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the new job if its results are the same.")] = False,
    as_json: JsonOption = False,
    header: HeaderOption = None,
    token: TokenOption = None,
    http_timeout: HttpTimeoutOption = 30.0,
) -> None:
    """Do a job anew and compare the results by their checksums: is it reproducible?

    The exit code is 0 if all results are the same, 1 if not.
    """
    from uws_service.client.rerun import compare, is_reproduced
    from uws_service.client.rerun import rerun as make

    with guarded(), open_client(url_of(job), header, http_timeout, token) as client:
        plan = _plan(client, url_of(job), accept)
        if not plan.results:
            raise Stop(EXIT_JOB, f"{plan.job} has no results to compare with")
        created = make(client, url_of(job), run=True, accept=accept)
        note(f"done anew as {created}")
        document = watch(client, created, timeout)
        compared = compare(plan.results, document)
        same = document.phase == "COMPLETED" and is_reproduced(compared)
        if as_json:
            print_json(_verdict_json(plan, document, compared, same))
        else:
            _print_compared(compared)
        _note_versions(plan, document)
        if document.phase != "COMPLETED":
            raise Stop(EXIT_JOB, ended(document)[1])
        if same and delete:
            client.delete(created)
    if not same:
        raise Stop(EXIT_JOB, f"not reproducible: {created} gave other results")
    note("reproducible: all results are the same")


def _plan(client: UwsClient, job: str, accept: bool) -> RerunPlan:
    """Return the plan of a rerun.

    End the command if it is not possible.
    """
    from uws_service.client.rerun import rerun_plan

    plan = rerun_plan(client, job)
    for remark in plan.remarks:
        note(f"{remark}")
    obstacles = plan.missing or (() if accept else plan.differences)
    for obstacle in obstacles[:-1]:
        note(obstacle)
    if obstacles:
        hint = "" if plan.missing else " (--accept-differences does it nevertheless)"
        raise Stop(EXIT_JOB, f"{one_line(obstacles[-1])} So it can't be done anew as it was{hint}.")
    for difference in plan.differences:
        note(difference)
    return plan


def _print_compared(compared: list[Compared]) -> None:
    for item in compared:
        digests = item.before if item.before == item.after else " ".join(filter(None, (item.before, item.after)))
        print(f"{item.verdict.value:10}{one_line(item.id, 200)}  {digests}")


def _note_versions(plan: RerunPlan, document: JobDocument) -> None:
    """Say what ran in another version than before."""
    present = dict(document.versions)
    for name, version in plan.versions.items():
        if present.get(name, "") != version:
            note(f"{name}: {version} before, {present.get(name) or 'not recorded'} now")


def _verdict_json(plan: RerunPlan, document: JobDocument, compared: list[Compared], same: bool) -> dict[str, object]:
    return {
        "job": plan.job,
        "rerun": document.url,
        "phase": document.phase,
        "reproducible": same,
        "remarks": list(plan.remarks),
        "differences": list(plan.differences),
        "results": [
            {"id": item.id, "verdict": item.verdict.value, "before": item.before or None, "after": item.after or None}
            for item in compared
        ],
    }


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("rerun")(rerun)
    app.command("verify")(verify)
