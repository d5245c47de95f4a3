"""The command line: ``uws-conformance URL``. Exit status 0 nothing broken, 1 rules broken, 2 could not check."""

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
from uws_conformance.profile import FORMS, Profile, ProfileError, load, shipped
from uws_conformance.registry import Check, all_checks

STYLES = {"pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim", "unsupported": "blue"}


def parser() -> argparse.ArgumentParser:
    """All options."""
    main = argparse.ArgumentParser(prog="uws-conformance", description="Check a UWS 1.1 and DALI server, rule by rule.")
    main.add_argument("url", help="the URL of the job list, such as https://host/tap/async")
    main.add_argument("--version", action="version", version=__version__)
    main.add_argument("--profile", default="", help=f"a YAML file or one of {', '.join(shipped())}")
    main.add_argument("--discover", action="store_true", help="choose the profile from the server's capabilities")
    main.add_argument("--only", action="append", default=[], metavar="TEXT", help="only checks whose id has this text")
    who = main.add_argument_group("identities")
    who.add_argument("--token", default=os.environ.get("UWS_CONFORMANCE_TOKEN", ""), help="a bearer token")
    who.add_argument(
        "--token-other", default=os.environ.get("UWS_CONFORMANCE_TOKEN_OTHER", ""), help="of somebody else"
    )
    who.add_argument("--basic", default="", metavar="USER:PASSWORD")
    who.add_argument("--cookie", default="", metavar="NAME=VALUE")
    manners = main.add_argument_group("manners")
    manners.add_argument("--read-only", action="store_true", help="create and change nothing")
    manners.add_argument("--dry-run", action="store_true", help="send nothing; list the checks and the jobs")
    manners.add_argument("--rate", type=float, default=0.0, help="at most so many requests in a second")
    manners.add_argument("--timeout", type=float, default=30.0, help="seconds for one request")
    manners.add_argument(
        "--time-limit", type=float, default=900.0, help="seconds for all checks; then the rest is skipped"
    )
    manners.add_argument("--max-jobs", type=int, default=60)
    manners.add_argument("--insecure", action="store_true", help="do not verify TLS certificates")
    out = main.add_argument_group("reports")
    out.add_argument("--strict", action="store_true", help="warnings count as failures")
    out.add_argument("--quiet", action="store_true", help="only what is not a pass, and the sum")
    for name in ("json", "junit", "html", "badge"):
        out.add_argument(f"--{name}", type=Path, metavar="FILE")
    out.add_argument("--compare", type=Path, metavar="OLD.json", help="tell what changed since that report")
    return main


def identity(options: argparse.Namespace) -> Identity:
    """The first identity, from whichever credential was given."""
    if options.token:
        return Identity("token", {"Authorization": f"Bearer {options.token}"})
    if options.basic:
        return Identity("basic", {"Authorization": f"Basic {base64.b64encode(options.basic.encode()).decode()}"})
    if options.cookie:
        return Identity("cookie", {"Cookie": options.cookie})
    return ANONYMOUS


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one server."""
    options = parser().parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    limits = Limits(options.timeout, total=options.time_limit, rate=options.rate, read_only=options.read_only)
    client = Client(limits, identity(options), verify=not options.insecure)
    other = Identity("other", {"Authorization": f"Bearer {options.token_other}"}) if options.token_other else None
    try:
        if other:
            client.secrets.update(other.headers.values())
        before = None
        if options.compare:  # read first: a run is too long to find out at its end
            before = options.compare
            json.loads(before.read_text())
        profile = load(options.profile) if options.profile else Profile(name="plain")
        if options.discover and not options.dry_run:
            profile = discover(options.url, client, profile)
        chosen = [one for one in all_checks() if one.standard in profile.chapters and wanted(one, options.only)]
        if options.dry_run:
            return dry_run(console, profile, chosen)
        bench = Bench(options.url, profile, client, other, options.max_jobs)
        runner.reachable(bench)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("checks", total=len(chosen))

            def seen(result: Result) -> None:
                tell(console, result, options.quiet)
                bar.advance(task)

            found = runner.run(bench, chosen, seen)
        write(found, options)
    except (Broken, ProfileError, OSError, ValueError) as error:
        print(f"uws-conformance: {error}", file=sys.stderr)
        return 2
    finally:
        client.close()
    for name, (good, judged) in report.scores(found.results).items():
        console.print(f"{name}: {good} of {judged}")
    console.print(f"{report.summary(found)}; {len(found.exchanges)} requests")
    for url in found.left:
        console.print(f"[yellow]could not be deleted:[/] {escape(url)}")
    if before:
        for line in report.compare(found, before):
            console.print(escape(line))
    if found.trouble:
        print(f"uws-conformance: {found.trouble}", file=sys.stderr)
    return found.status(options.strict)


def wanted(check: Check, texts: Sequence[str]) -> bool:
    """Whether ``--only`` chooses the check."""
    return not texts or any(text in check.id for text in texts)


def tell(console: Console, result: Result, quiet: bool) -> None:
    """One line of the live table, and for a broken rule what to do."""
    if quiet and result.outcome is Outcome.PASS:
        return
    style = STYLES[result.outcome]
    console.print(f"[{style}]{result.outcome:<11}[/] {result.level:<6} {escape(result.id)}  {escape(result.seen)}")
    if result.outcome in (Outcome.FAIL, Outcome.WARN):
        asked = f"{result.standard} §{result.section}: {result.requires} {result.hint}".rstrip()
        console.print(f"            {escape(asked)}")


def dry_run(console: Console, profile: Profile, chosen: Sequence[Check]) -> int:
    """What would be sent: the jobs of the profile and the checks."""
    for kind in FORMS:
        form = profile.form(kind)
        shown = "none" if form is None else ", ".join(f"{name}={value}" for name, value in form) or "no parameters"
        console.print(f"{kind} job: {escape(shown)}")
    for one in chosen:
        console.print(f"{one.level:<6} {escape(one.id)}: {escape(one.requires)}")
    return 0


def write(found: runner.Report, options: argparse.Namespace) -> None:
    """The report files that were asked for."""
    makers = {"json": report.as_json, "junit": report.as_junit, "html": report.as_html, "badge": report.badge}
    for name, make in makers.items():
        if path := getattr(options, name):
            path.write_text(make(found), encoding="utf-8")
