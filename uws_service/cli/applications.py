"""The kit for authors of applications: ``app init``, ``check``, ``try``, ``test``, ``import``, ``export``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import (
    EXIT_JOB,
    EXIT_USAGE,
    JsonOption,
    Stop,
    complain,
    note,
    one_line,
    print_json,
)
from uws_service.cli.values import pair

if TYPE_CHECKING:
    from uws_service.kit.cases import Outcome
    from uws_service.kit.trial import Trial

DescriptorArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The application's descriptor, a YAML file.", show_default=False)
]
PathOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--path",
        metavar="FOLDER",
        help="Look for commands here too, such as in the `bin` of a virtual environment; may be repeated. The folder "
        "`bin` beside the descriptor is always looked into.",
    ),
]
LOG_CHARACTERS = 4000


def init(
    name: Annotated[str, typer.Argument(help="Name of the application: lower-case letters, digits, hyphens.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to make; by default that of the name.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the files of a new application, which works: descriptor, program, image, tests, CI."""
    from uws_service.kit.scaffolds import make_scaffold

    paths = make_scaffold(name, folder or Path(name))
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        print(path)


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Descriptors.", show_default=False)],
    path: PathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check descriptors as the service does at its start; exit code 2 if any is wrong.

    Each problem is a line: file, line, field, what is wrong and what is allowed. Remarks are about what may have been
    overlooked, and change no exit code.
    """
    from uws_service.kit.checks import check_descriptor

    verdicts = [check_descriptor(file, tuple(path or ())) for file in files]
    if as_json:
        print_json(
            [
                {
                    "file": str(verdict.file),
                    "name": verdict.application.name if verdict.application is not None else None,
                    "problems": verdict.problems,
                    "remarks": verdict.remarks,
                }
                for verdict in verdicts
            ]
        )
    else:
        for verdict in verdicts:
            for problem in verdict.problems:
                complain(problem)
            for remark in verdict.remarks:
                print(one_line(f"{verdict.file}: remark: {remark}", 1000))
            if verdict.application is not None:
                print(f"{verdict.file}: good")
    if any(verdict.problems for verdict in verdicts):
        raise Stop(EXIT_USAGE)


def try_once(
    file: DescriptorArgument,
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE", help="Parameters; NAME=@PATH sends a file to one that takes it.", show_default=False
        ),
    ] = None,
    upload: Annotated[
        list[str] | None,
        typer.Option("--upload", metavar="TABLE=PATH", help="Send a table by UPLOAD; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the results; by default a new one.", show_default=False
        ),
    ] = None,
    path: PathOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the work folder, and say where it is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run an application once on this machine, as a local site runs a job: no service is needed.

    The parameters are checked as those of a job; the command gets the same folders, variables and limits. Exit code 1:
    the job would end in ERROR; standard error and what lies in the folders then say why.
    """
    from uws_service.domain.errors import UsageError
    from uws_service.kit.checks import load, program_folders
    from uws_service.kit.trial import Request, remove_work, request_of, run_trial

    _quiet()
    application = load(file)
    request = request_of(application, [pair(word) for word in parameters or []], Path.cwd())
    tables = {name: Path(place) for name, place in map(pair, upload or [])}
    target = output or Path(tempfile.mkdtemp(prefix=f"{application.name}-"))
    target.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="uws-try-"))
    try:
        trial = run_trial(
            application,
            Request(request.values, request.files, tables),
            work,
            target,
            folders=program_folders(file, tuple(path or ())),
        )
    except UsageError as error:
        raise Stop(EXIT_USAGE, f"{file}: {error.message}") from None
    finally:
        if not keep:
            remove_work(work)
    _print_trial(trial, work if keep else None, as_json=as_json)
    if trial.error:
        raise Stop(EXIT_JOB, "" if as_json else f"{trial.reason}: {trial.error}")


def _print_trial(trial: Trial, work: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(trial_json(trial) | ({"work": str(work)} if work is not None else {}))
        return
    for name, log in (("stdout", trial.stdout), ("stderr", trial.stderr)):
        if log.strip():
            note(f"--- {name} of the command")
            sys.stderr.write(f"{''.join(c for c in log[-LOG_CHARACTERS:] if c.isprintable() or c in chr(10) + chr(9))}")
            sys.stderr.write("" if log.endswith("\n") else "\n")
    usage = trial.usage
    note(f"--- {usage.wall:.1f} s, {usage.cpu:.1f} s of processor, {usage.peak_memory / 2**20:.0f} MiB of memory")
    if work is not None:
        note(f"The work folder is {work}")
    for result in trial.results:
        print(f"{result.id}  {result.media_type}  {result.size} bytes  {result.path}")


def trial_json(trial: Trial) -> dict[str, Any]:
    """Return a trial for machines."""
    return {
        "error": trial.error,
        "reason": trial.reason,
        "exit_code": trial.exit_code,
        "command": trial.command,
        "results": [
            {"id": result.id, "media_type": result.media_type, "size": result.size, "path": str(result.path)}
            for result in trial.results
        ],
        "stdout": trial.stdout,
        "stderr": trial.stderr,
        "wall_seconds": trial.usage.wall,
        "cpu_seconds": trial.usage.cpu,
        "peak_memory_bytes": trial.usage.peak_memory,
    }


def test(
    file: DescriptorArgument,
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="CASE", help="Names of cases; by default all.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of the cases; by default `tests` beside the descriptor.", show_default=False),
    ] = None,
    path: PathOption = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make the results of this run the expected ones. Look at them!")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run an application's golden-file tests; exit code 1 if any fails.

    A case is a folder with `case.yaml`: parameters, and the files that the results must be like, or the error in which
    the job must end. Tables, FITS, JSON and pictures are compared by their values, within tolerances.
    """
    from uws_service.kit.cases import find_cases, run_cases
    from uws_service.kit.checks import load, program_folders

    _quiet()
    application = load(file)
    all_cases = find_cases(folder or file.absolute().parent / "tests", application)
    chosen_cases = [case for case in all_cases if not cases or case.name in cases]
    if unknown := set(cases or ()) - {case.name for case in all_cases}:
        names = ", ".join(case.name for case in all_cases)
        raise Stop(EXIT_USAGE, f"there is no case {', '.join(sorted(unknown))}; cases: {names}")
    outcomes = []
    folders = program_folders(file, tuple(path or ()))
    for outcome in run_cases(application, chosen_cases, folders=folders, update=update):
        outcomes.append(outcome)
        if not as_json:
            _print_outcome(outcome)
    failures = sum(1 for outcome in outcomes if outcome.problems)
    if as_json:
        print_json(
            [
                {"case": outcome.name, "problems": outcome.problems, "seconds": round(outcome.seconds, 3)}
                for outcome in outcomes
            ]
        )
    else:
        print(f"{len(outcomes) - failures} passed, {failures} failed")
    if failures:
        raise Stop(EXIT_JOB)


def _print_outcome(outcome: Outcome) -> None:
    print(f"{'FAILED' if outcome.problems else 'passed'}  {outcome.name}  ({outcome.seconds:.1f} s)", flush=True)
    for problem in outcome.problems:
        print(f"        {one_line(problem, 1500)}")
    for updated in outcome.updated:
        print(f"        wrote {updated}")


def import_tool(
    tool: Annotated[Path, typer.Argument(metavar="TOOL.cwl", help="A CommandLineTool of CWL v1.0 to v1.2.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; by default by the tool's name."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the descriptor of a CWL CommandLineTool; what can't be mapped is an error, and nothing is written."""
    import yaml

    from uws_service.kit.checks import check_descriptor
    from uws_service.kit.cwl import import_tool as map_tool
    from uws_service.kit.cwl import read_tool

    fields, remarks = map_tool(read_tool(tool))
    target = output or Path(f"{fields['name']}.yaml")
    text = f"# Made of the CWL tool {tool.name} by `uws-service app import`.\n"
    text += yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)
    _write_new(target, text)
    verdict = check_descriptor(target)
    if as_json:
        document = {"file": str(target), "name": fields["name"], "problems": verdict.problems}
        print_json(document | {"remarks": [*remarks, *verdict.remarks]})
    else:
        for remark in [*remarks, *verdict.remarks]:
            note(f"{tool}: remark: {remark}")
        for problem in verdict.problems:
            complain(problem)
        print(target)
    if verdict.problems:
        raise Stop(EXIT_USAGE)


def export_tool(
    file: DescriptorArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="TOOL.cwl", help="File to write; by default standard output."),
    ] = None,
) -> None:
    """Write an application as a CommandLineTool of CWL v1.2; what CWL can't say is an error."""
    import yaml

    from uws_service.kit.checks import load
    from uws_service.kit.cwl import export_tool as map_application

    tool, remarks = map_application(load(file))
    for remark in remarks:
        note(f"{file}: remark: {remark}")
    text = yaml.safe_dump(tool, sort_keys=False, allow_unicode=True, width=110)
    if output is None:
        print(text, end="")
    else:
        _write_new(output, text)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Stop(EXIT_USAGE, f"{path} is there already; name another file by --output") from None


def _quiet() -> None:
    """Keep the site's own log lines to warnings: this is no service."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="Write, check, try and test applications.", no_args_is_help=True)
    group.command("init", short_help="Make the files of a new application.")(init)
    group.command("check", short_help="Check descriptors.")(check)
    group.command("try", short_help="Run an application once, without a service.")(try_once)
    group.command("test", short_help="Run an application's golden-file tests.")(test)
    group.command("import", short_help="Make a descriptor of a CWL tool.")(import_tool)
    group.command("export", short_help="Make a CWL tool of a descriptor.")(export_tool)
    app.add_typer(group, name="app", short_help="Write, check, try and test applications.")
