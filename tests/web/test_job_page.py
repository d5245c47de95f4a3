"""The page of a job.

Where it stands, what can be done, why it failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.protocol.samples import CREATED, FULL, PENDING, URLS, jobs
from tests.web.page_reader import APPLICATION, BASE, EVIL, buttons, links, parsed
from uws_service.domain.attempt import Attempt, AttemptState, Reason, Usage
from uws_service.domain.job import ErrorSummary, Job, Parameter, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.domain.placement import Candidate, Cost
from uws_service.web.job_page import JobView, LogTail, job_page


def page_of(job: Job, attempts: Sequence[Attempt] = (), now: int = CREATED, **view: Any) -> str:
    """Return the page of a job."""
    return job_page(job, JobView(APPLICATION, attempts, **view), URLS, now)


ALLOWED = {
    Phase.PENDING: {"Run", "Abort"},
    Phase.HELD: {"Run", "Abort"},
    Phase.QUEUED: {"Abort"},
    Phase.EXECUTING: {"Abort"},
    Phase.SUSPENDED: {"Abort"},
    Phase.UNKNOWN: {"Abort"},
    Phase.COMPLETED: {"Run again"},
    Phase.ERROR: {"Run again"},
    Phase.ABORTED: {"Run again"},
    Phase.ARCHIVED: {"Run again"},
}


@pytest.mark.parametrize("phase", list(Phase))
def test_buttons_and_refresh_follow_the_phase(phase: Phase) -> None:
    """U-024, U-026, U-027, U-108: forms send what programs would."""
    tree = parsed(page_of(replace(PENDING, phase=phase)))
    job = URLS.job(PENDING.id)
    possible = {
        "Run": ("post", f"{job}/phase", "PHASE", "RUN"),
        "Abort": ("post", f"{job}/phase", "PHASE", "ABORT"),
        "Run again": ("post", f"{job}/rerun", "PHASE", "RUN"),
        "Delete it": ("post", job, "ACTION", "DELETE"),
        "Save": ("post", f"{job}/name", "", ""),
    }
    expected = ALLOWED[phase] | {"Delete it", "Save"}
    job_buttons = {name: form for name, form in buttons(tree).items() if not name.startswith("Copy")}
    assert job_buttons == {name: form for name, form in possible.items() if name in expected}
    refresh = tree.findall(".//noscript/meta[@http-equiv='refresh']")
    active = phase in {Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN}
    assert [element.get("content") for element in refresh] == (["3"] if active else [])
    badge = tree.find(f".//span[@class='phase {phase.lower()}']")
    assert badge is not None and badge.text == phase
    assert f"{job}/copy" in links(tree)


def test_readers_of_a_share_can_change_nothing() -> None:
    """What only the owner may do has no button; what makes a job of the reader's own has."""
    done = replace(FULL, phase=Phase.COMPLETED, error=None)
    tree = parsed(page_of(done, may_change=False))
    assert [name for name in buttons(tree) if not name.startswith("Copy")] == ["Run again"]
    url = URLS.job(FULL.id)
    assert f"{url}/shares" not in links(tree) and f"{url}/download" in links(tree)
    assert f"{url}/shares" in links(parsed(page_of(done, may_share=True)))
    assert "Keep 7 days longer" in buttons(parsed(page_of(done)))


@pytest.mark.parametrize("reason", list(Reason))
def test_a_failure_says_whose_fault_it_was(reason: Reason) -> None:
    """One sentence each; what another request may mend can be mended at once."""
    job = replace(PENDING, phase=Phase.ERROR, error=ErrorSummary("Words.", reason=reason))
    tree = parsed(page_of(job))
    section = tree.find(".//section[@class='error']")
    assert section is not None and len(section.findtext("h2")) > 10 and section.find("p").text == "Words."
    mendable = {Reason.USAGE, Reason.DATA, Reason.STAGE_IN, Reason.EXIT_CODE, Reason.APPLICATION, Reason.OUT_OF_MEMORY,
           Reason.OUTPUT_TOO_LARGE, Reason.TOO_MANY_PROCESSES, Reason.DEADLINE, Reason.ABORTED}  # fmt: skip
    assert ("Fix and run again" in tree.text_content()) is (reason in mendable)
    assert ("Run again" in buttons(tree)) is (reason not in mendable)


def test_the_timeline_goes_as_far_as_the_job() -> None:
    """Each station with its time, and one of them is now."""

    def stations(job: Job) -> list[tuple[str, str]]:
        entries = parsed(page_of(job)).findall(".//ol[@class='timeline']/li")
        return [(entry.findtext("strong"), entry.get("class")) for entry in entries]

    pending = [("Created", "now"), ("Queued", "next"), ("Running", "next"), ("Done", "next")]
    assert stations(PENDING) == pending
    executing = replace(PENDING, phase=Phase.EXECUTING, queued=CREATED, started=CREATED)
    assert stations(executing) == [("Created", "past"), ("Queued", "past"), ("Running", "now"), ("Done", "next")]
    assert stations(FULL)[-1] == ("Failed", "failed")
    assert stations(replace(executing, phase=Phase.COMPLETED, ended=CREATED))[-1] == ("Done", "past")
    refused = replace(PENDING, phase=Phase.ERROR, ended=CREATED, error=ErrorSummary("x", reason="Usage"))
    assert stations(refused) == [("Created", "past"), ("Failed", "failed")]


def test_a_job_is_shown_with_all_that_is_known() -> None:
    """U-076, U-081, U-085: times, results, error, logs, attempts."""
    attempts = [
        Attempt("x", 2, "local", "a", "", state=AttemptState.CLOSED, started=CREATED, ended=CREATED, exit_code=3,
                reason="ExitCode", message=EVIL, usage=Usage(wall=12.5, cpu=3, peak_memory=5 * 1024**2)),
        Attempt("x", 1, "cluster", "a", "", state=AttemptState.CLOSED, reason="AgentLost"),
    ]  # fmt: skip
    tree = parsed(
        page_of(
            FULL,
            attempts,
            CREATED + 10_000,
            logs=[LogTail("stdout", f"{URLS.job(FULL.id)}/logs/stdout", EVIL, 3, False)],
        )
    )
    text = re.sub(r"\s+", " ", tree.text_content())
    for words in (
        "exit code 3 <&>", "line 1 line 2",
        "The program stopped with an error", "Reason: ExitCode", "a b&c<é", "alice@example.org", "half & half",
        "2.0 KiB", "2048 bytes", "ab" * 32, "application/x-votable+xml", "for 3 s", "in 23 h 59 min", "1 h",
        "12.5 s, CPU 3 s, 5.0 MiB of memory", EVIL, "arcsec", "only one",
    ):  # fmt: skip
        assert words in text, words
    url = URLS.job(FULL.id)
    assert {
        f"{url}/error", f"{url}/logs/stdout", f"{url}/results/result", f"{url}/results/plots%2F1.png",
        f"{url}/parameters/tab", f"{url}/parameters/pol?value=2", URLS.jobs, f"{BASE}/crossmatch",
    } <= links(tree)  # fmt: skip
    progress = tree.find(".//progress")
    assert progress is not None and (progress.get("value"), progress.get("max")) == ("42.5", "100")
    numbers = [row[0].text_content() for row in tree.findall(".//table[@aria-labelledby='attempts']//tbody/tr")]
    assert numbers == ["1", "2"]
    assert tree.find(".//time").get("datetime").endswith("Z")  # U-008


def test_an_abort_is_no_error() -> None:
    """An owner's abort is a notice, other failures are errors."""
    abort = ErrorSummary("Aborted at the owner's request.", reason="Aborted")
    tree = parsed(page_of(replace(PENDING, phase=Phase.ABORTED, error=abort)))
    assert tree.find(".//section[@class='error']") is None
    notice = tree.find(".//section[@class='notice']")
    assert notice is not None and "Aborted at the owner's request." in notice.text_content()
    failed = replace(PENDING, phase=Phase.ERROR, error=replace(abort, reason="NodeLost"))
    tree = parsed(page_of(failed))
    assert tree.find(".//section[@class='error']") is not None


@pytest.mark.parametrize("state", list(AttemptState))
def test_the_page_of_an_aborted_job_reloads_until_its_attempt_is_closed(state: AttemptState) -> None:
    """The attempt's logs come after the job's end."""
    attempt = Attempt("x", 1, "local", "a", "", state=state)
    page = page_of(replace(PENDING, phase=Phase.ABORTED), [attempt])
    refreshes = parsed(page).findall(".//meta[@http-equiv='refresh']")
    assert bool(refreshes) is (state is not AttemptState.CLOSED)


def test_a_page_says_why_a_job_is_at_its_site() -> None:
    """What spoke for each site and against it, whatever the words are."""
    placement = (
        Candidate("a", (), (Cost("data", 120.0, EVIL), Cost("load", 0.0, "nothing waits"))),
        Candidate("b", ("it is drained", EVIL)),
    )
    tree = parsed(page_of(replace(PENDING, info=JobInfo(placement=placement))))
    rows = [
        [cell.text_content() for cell in row]
        for row in tree.findall(".//table[@aria-labelledby='placement']//tbody/tr")
    ]
    assert rows == [["a", "120 s", f"{EVIL} (120 s); nothing waits"], ["b", "–", f"it is drained; {EVIL}"]]


def test_a_waiting_job_says_for_what() -> None:
    """The reason, and how many are ahead."""
    queued = replace(PENDING, phase=Phase.QUEUED, info=JobInfo(waiting="waiting for a free slot", ahead=7))
    text = parsed(page_of(queued)).text_content()
    assert "waiting for a free slot (7 ahead)" in text


def test_what_a_form_left_empty_is_not_listed() -> None:
    """Fields without a value are counted, not shown."""
    parameters = (Parameter("A", "x"), Parameter("B", ""), Parameter("C", "", upload="k", size=0), Parameter("D", " "))
    tree = parsed(page_of(replace(PENDING, parameters=parameters)))
    assert [element.text_content() for element in tree.findall(".//tbody/tr/th")] == ["A", "D"]
    assert "2 without a value are not shown" in tree.text_content()


def test_a_running_job_says_for_how_long() -> None:
    """``now`` is an argument."""
    running = replace(PENDING, phase=Phase.EXECUTING, started=CREATED)
    text = parsed(page_of(running, now=CREATED + 3_723_000)).text_content()
    assert "for 1 h 2 min" in text


@settings(max_examples=40)
@given(jobs)
def test_any_job_has_a_page(job: Job) -> None:
    """Whatever a job holds is shown and never run."""
    tree = parsed(page_of(job))
    assert job.id in tree.text_content()
