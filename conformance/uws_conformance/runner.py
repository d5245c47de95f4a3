"""The runner of the checks.

It runs them one after another, turns what they raise into outcomes, and always deletes the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from uws_conformance.bench import Bench
from uws_conformance.http import ANONYMOUS, Exchange
from uws_conformance.outcomes import Broken, Level, Outcome, Result, Skipped, Unsupported
from uws_conformance.registry import Check

ReportResult = Callable[[Result], None]


@dataclass(frozen=True)
class Report:
    """Everything that a run produced."""

    url: str
    profile: str
    results: tuple[Result, ...]
    exchanges: tuple[Exchange, ...]
    undeleted: tuple[str, ...] = ()
    interrupted: bool = False
    stop_reason: str = ""  # why the run ended early

    def count(self, outcome: Outcome) -> int:
        """Return the number of results with an outcome."""
        return sum(result.outcome is outcome for result in self.results)

    def status(self, strict: bool = False) -> int:
        """Return the exit status.

        It is 130 after Ctrl-C, 2 if the run ended early, 1 if a MUST is broken (with ``strict`` any rule).
        """
        if self.interrupted:
            return 130
        if self.stop_reason:
            return 2
        return int(bool(self.count(Outcome.FAIL) or (strict and self.count(Outcome.WARN))))


def run_check(check: Check, bench: Bench) -> Result:
    """Run a check and return its result.

    Whatever the server sent, nothing is raised.
    """
    first = len(bench.client.exchanges)
    bench.shared_exchanges.clear()
    started = time.monotonic()
    outcome, observation = Outcome.PASS, ""
    try:
        observation = check.run(bench) or "as required"
    except Broken as error:
        outcome, observation = (Outcome.FAIL if check.level is Level.MUST else Outcome.WARN), str(error)
    except Skipped as error:
        outcome, observation = Outcome.SKIP, str(error)
    except Unsupported as error:
        outcome, observation = Outcome.UNSUPPORTED, str(error)
    except Exception as error:  # a reply that the check does not expect; the run goes on
        outcome = Outcome.FAIL if check.level is Level.MUST else Outcome.WARN
        observation = f"the answer could not be understood ({type(error).__name__}: {error})"
    exchanges = tuple(sorted(bench.shared_exchanges.union(range(first, len(bench.client.exchanges)))))
    return Result(
        check.id, check.rule, check.level, check.standard, check.section, check.requires, check.hint,
        outcome, observation, time.monotonic() - started, exchanges,
    )  # fmt: skip


def skipped_result(check: Check, reason: str) -> Result:
    """Return the result of a check not made."""
    return Result(
        check.id, check.rule, check.level, check.standard, check.section, check.requires, check.hint,
        Outcome.SKIP, reason, 0.0, (),
    )  # fmt: skip


def rejection(bench: Bench, result: Result) -> str:
    """Return why the server no longer accepts the credentials.

    The text is empty if it does, or if there are none.
    """
    if bench.client.identity is ANONYMOUS or not any(bench.client.exchanges[n].status == 401 for n in result.exchanges):
        return ""
    try:
        reply = bench.get(bench.list_url)
    except Broken:
        return ""
    return f"the credentials are no longer accepted: {reply}" if reply.status == 401 else ""


def run(bench: Bench, checks: Iterable[Check], report_result: ReportResult = lambda _result: None) -> Report:
    """Run the checks of the profile's chapters.

    All jobs are deleted at the end, also after Ctrl-C.
    """
    results: list[Result] = []
    interrupted, stop_reason = False, ""
    deadline = time.monotonic() + bench.client.limits.total_seconds
    try:
        for check in checks:
            if check.standard not in bench.profile.chapters:
                continue
            if not stop_reason and time.monotonic() > deadline:
                stop_reason = f"the time limit of {bench.client.limits.total_seconds:g} s is reached"
            result = skipped_result(check, stop_reason) if stop_reason else run_check(check, bench)
            if not stop_reason and (stop_reason := rejection(bench, result)):
                result = skipped_result(check, stop_reason)
            results.append(result)
            report_result(result)
    except KeyboardInterrupt:
        interrupted = True
    undeleted = bench.delete_jobs() if not bench.client.limits.read_only else []
    return Report(
        bench.list_url,
        bench.profile.name,
        tuple(results),
        tuple(bench.client.exchanges),
        tuple(undeleted),
        interrupted,
        stop_reason,
    )


def require_reachable(bench: Bench) -> None:
    """Request the job list once.

    Raise `Broken` with a clear message if there is nothing to check.
    """
    reply = bench.get(bench.list_url)
    if reply.status == 401:
        raise Broken(f"{reply}; give credentials that it accepts: --token, --basic or --cookie")
    if reply.status >= 500:
        raise Broken(f"{reply}; is this the job list?")
    if reply.status == 404:
        raise Broken(f"{reply}; give the URL of a job list, such as https://host/tap/async")
