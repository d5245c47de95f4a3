"""The command line: ``uws-conformance URL``.

The exit status is 0 if no rule is broken, 1 if one is, and 2 if the server could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from uws_conformance import __version__, report, runner
from uws_conformance.bench import Bench
from uws_conformance.discover import discover
from uws_conformance.http import ANONYMOUS, Client, Identity, Limits
from uws_conformance.outcomes import Broken, Outcome, Result
from uws_conformance.profile import JOB_KINDS, Profile, ProfileError, load, shipped
from uws_conformance.registry import Check, all_checks

STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim", "unsupported": "blue"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of all options."""
    main = argparse.ArgumentParser(prog="uws-conformance", description="Check a UWS 1.1 and DALI server, rule by rule.")
    main.add_argument("url", help="the URL of the job list, such as https://host/tap/async")
    main.add_argument("--version", action="version", version=__version__)
    main.add_argument("--profile", default="", help=f"a YAML file or one of {', '.join(shipped())}")
    main.add_argument("--discover", action="store_true", help="choose the profile from the server's capabilities")
    main.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only checks with this text in their id"
    )
    identities = main.add_argument_group("identities")
    identities.add_argument("--token", default=os.environ.get("UWS_CONFORMANCE_TOKEN", ""), help="a bearer token")
    identities.add_argument(
        "--token-other",
        default=os.environ.get("UWS_CONFORMANCE_TOKEN_OTHER", ""),
        help="a bearer token of somebody else",
    )
    identities.add_argument("--basic", default="", metavar="USER:PASSWORD")
    identities.add_argument("--cookie", default="", metavar="NAME=VALUE")
    limits = main.add_argument_group("limits")
    limits.add_argument("--read-only", action="store_true", help="create and change nothing")
    limits.add_argument("--dry-run", action="store_true", help="send nothing; list the checks and the profile's jobs")
    limits.add_argument("--rate", type=float, default=0.0, help="maximum number of requests per second")
    limits.add_argument("--timeout", type=float, default=30.0, help="timeout of a request in seconds")
    limits.add_argument(
        "--time-limit", type=float, default=900.0, help="seconds for all checks; those that remain are skipped"
    )
    limits.add_argument("--max-jobs", type=int, default=60)
    limits.add_argument("--insecure", action="store_true", help="do not verify TLS certificates")
    reports = main.add_argument_group("reports")
    reports.add_argument("--strict", action="store_true", help="warnings count as failures")
    reports.add_argument("--quiet", action="store_true", help="leave out passed checks")
    for name in ("json", "junit", "html", "badge"):
        reports.add_argument(f"--{name}", type=Path, metavar="FILE")
    reports.add_argument("--compare", type=Path, metavar="OLD.json", help="list what changed since that report")
    return main


def identity_from(options: argparse.Namespace) -> Identity:
    """Return the identity of the credential in the options."""
    if options.token:
        return Identity("token", {"Authorization": f"Bearer {options.token}"})
    if options.basic:
        return Identity("basic", {"Authorization": f"Basic {base64.b64encode(options.basic.encode()).decode()}"})
    if options.cookie:
        return Identity("cookie", {"Cookie": options.cookie})
    return ANONYMOUS


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a server and return the exit status."""
    options = parser().parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    limits = Limits(
        options.timeout, total_seconds=options.time_limit, requests_per_second=options.rate, read_only=options.read_only
    )
    client = Client(limits, identity_from(options), verify=not options.insecure)
    other_identity = (
        Identity("other", {"Authorization": f"Bearer {options.token_other}"}) if options.token_other else None
    )
    try:
        if other_identity:
            client.secrets.update(other_identity.headers.values())
        old_report = None
        if options.compare:  # read it first: a run is too long to fail at its end
            old_report = options.compare
            json.loads(old_report.read_text())
        profile = load(options.profile) if options.profile else Profile(name="plain")
        if options.discover and not options.dry_run:
            profile = discover(options.url, client, profile)
        checks = [
            check for check in all_checks() if check.standard in profile.chapters and is_selected(check, options.only)
        ]
        if options.dry_run:
            return dry_run(console, profile, checks)
        bench = Bench(options.url, profile, client, other_identity, options.max_jobs)
        runner.require_reachable(bench)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("checks", total=len(checks))

            def show(result: Result) -> None:
                print_result(console, result, options.quiet)
                bar.advance(task)

            run_report = runner.run(bench, checks, show)
        write_reports(run_report, options)
    except (Broken, ProfileError, OSError, ValueError) as error:
        print(f"uws-conformance: {error}", file=sys.stderr)
        return 2
    finally:
        client.close()
    for name, (passed, judged) in report.scores(run_report.results).items():
        console.print(f"{name}: {passed} of {judged}")
    console.print(f"{report.summary(run_report)}; {len(run_report.exchanges)} requests")
    for url in run_report.undeleted:
        console.print(f"[yellow]could not be deleted:[/] {escape(url)}")
    if old_report:
        for line in report.compare(run_report, old_report):
            console.print(escape(line))
    if run_report.stop_reason:
        print(f"uws-conformance: {run_report.stop_reason}", file=sys.stderr)
    return run_report.status(options.strict)


def is_selected(check: Check, texts: Sequence[str]) -> bool:
    """Return whether ``--only`` selects the check."""
    return not texts or any(text in check.id for text in texts)


def print_result(console: Console, result: Result, quiet: bool) -> None:
    """Print a result, and the remedy of a broken rule."""
    if quiet and result.outcome is Outcome.PASS:
        return
    style = STYLES[result.outcome]
    console.print(
        f"[{style}]{result.outcome:<11}[/] {result.level:<6} {escape(result.id)}  {escape(result.observation)}"
    )
    if result.outcome in (Outcome.FAIL, Outcome.WARN):
        requirement = f"{result.standard} §{result.section}: {result.requires} {result.hint}".rstrip()
        console.print(f"            {escape(requirement)}")


def dry_run(console: Console, profile: Profile, checks: Sequence[Check]) -> int:
    """Print the profile's jobs and the selected checks."""
    for kind in JOB_KINDS:
        form = profile.form(kind)
        parameters = "none" if form is None else ", ".join(f"{name}={value}" for name, value in form) or "no parameters"
        console.print(f"{kind} job: {escape(parameters)}")
    for check in checks:
        console.print(f"{check.level:<6} {escape(check.id)}: {escape(check.requires)}")
    return 0


def write_reports(run_report: runner.Report, options: argparse.Namespace) -> None:
    """Write the reports named by the options."""
    writers = {"json": report.as_json, "junit": report.as_junit, "html": report.as_html, "badge": report.badge}
    for name, writer in writers.items():
        if path := getattr(options, name):
            path.write_text(writer(run_report), encoding="utf-8")
