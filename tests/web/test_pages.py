"""Pages for people: well formed, escaped, without script."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from lxml import html

from tests.protocol.samples import CREATED, FULL, PENDING, URLS, jobs
from uws_service.applications import Application
from uws_service.applications.model import Bound, Example, Limits, MaxrecSpec, ParameterSpec, ResultSpec, UploadSpec
from uws_service.domain.attempt import Attempt, AttemptState, Usage
from uws_service.domain.job import ErrorSummary, Job, JobRef, Parameter, Phase
from uws_service.domain.jobinfo import JobInfo
from uws_service.domain.placement import Candidate, Cost
from uws_service.web import pages

EVIL = "<script>alert(1)</script>'\"&<img src=x onerror=alert(2)>"
BASE = "https://uws.example.org/compute"
STATIC = Path(pages.__file__).parent / "static"

APPLICATION = Application(
    "crossmatch",
    f"Match {EVIL}",
    EVIL,
    ("true",),
    parameters=(
        ParameterSpec("RADIUS", "double", unit="arcsec", ucd="pos.angDistance", minimum=0, maximum=0.5, default="0.1"),
        ParameterSpec("COUNT", "int", minimum=1),
        ParameterSpec("OPEN", "double", description=EVIL, required=True),
        ParameterSpec("KIND", "char", "*", options=("a", EVIL), default="a"),
        ParameterSpec("FLAG", "boolean"),
        ParameterSpec("POS", "double", "3", "circle"),
        ParameterSpec("TAG", "char", "*", repeated=True),
        ParameterSpec("IMAGE", file=True, required=True),
    ),
    uploads=UploadSpec(minimum=1, maximum=2, size=3 * 1024**2, description=EVIL),
    results=(ResultSpec("result", "r", "text/csv", formats={"csv": "text/csv", "votable": "text/xml"}),),
    maxrec=MaxrecSpec(100, 2000),
    limits=Limits(execution_duration=Bound(600, 7200)),
    examples=(
        Example("Point", EVIL, {"POS": "1 2 0.5", "TAG": ("it's", "$HOME")}),
        Example("Table", "", {"UPLOAD": "t,param:file1"}),
    ),
)


def parsed(page: str) -> Any:
    """Parse a page, and check what every page must have."""
    assert page.startswith("<!DOCTYPE html>\n")
    tree = html.document_fromstring(page)
    assert tree.get("lang") == "en" and tree.findtext(".//title")
    assert len(tree.findall(".//h1")) == 1 and tree.find(".//main[@id='main']") is not None
    for name in ("script", "style", "iframe", "object"):
        assert not tree.findall(f".//{name}"), name
    for picture in tree.findall(".//img"):  # results alone, of the job that is shown
        assert re.match(rf"{BASE}/\w+/async/[\w-]+/results/", picture.get("src", "")) and picture.get("alt")
    for element in tree.iter():
        assert not [name for name in map(str, element.attrib) if re.match("style$|on", name)], element.attrib
        for name in ("href", "action"):
            link = element.get(name, "https:")
            assert link.startswith(("http:", "https:", "#main", "/")), element.attrib
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    labels = {element.get("for") for element in tree.iter("label")}
    for element in [*tree.iter("input"), *tree.iter("select"), *tree.iter("progress")]:
        assert element.get("id") in labels, f"no label: {element.attrib}"
    for element in tree.iter():
        for name in ("aria-labelledby", "aria-describedby"):
            assert element.get(name) is None or element.get(name) in ids
    return tree


def links(tree: Any) -> set[str]:
    return {element.get("href") for element in tree.iter("a")}


def buttons(tree: Any) -> dict[str, tuple[str, str, str, str]]:
    """Return form method, action, name and value by button."""
    return {
        button.text_content(): (form.get("method"), form.get("action"), button.get("name", ""), button.get("value", ""))
        for form in tree.iter("form")
        for button in form.iter("button")
    }


def test_root_lists_applications_and_their_resources() -> None:
    """D-002, D-003: everything is reached from the first page."""
    tree = parsed(pages.root_page([APPLICATION, replace(APPLICATION, name="bare", examples=())], BASE))
    for child in ("", "/async", "/sync", "/capabilities", "/availability", "/examples"):
        assert f"{BASE}/crossmatch{child}" in links(tree)
    assert f"{BASE}/bare/async" in links(tree) and f"{BASE}/bare/examples" not in links(tree)
    assert EVIL in tree.text_content()
    assert "no applications" in parsed(pages.root_page([], BASE)).text_content()


def test_the_form_has_an_input_for_each_parameter() -> None:
    """U-122, U-123: multipart; PHASE=RUN only from its own button."""
    tree = parsed(pages.application_page(APPLICATION, BASE))
    [form] = tree.findall(".//form")
    assert form.get("enctype") == "multipart/form-data"
    jobs_url = f"{BASE}/crossmatch/async"
    assert buttons(tree) == {
        "Create and run": ("post", jobs_url, "PHASE", "RUN"),
        "Create": ("post", jobs_url, "", ""),
    }
    inputs: dict[str, list[Any]] = {}
    for element in form.xpath(".//input|.//select"):
        inputs.setdefault(element.get("name"), []).append(element)
    assert list(inputs) == [
        *[spec.name for spec in APPLICATION.parameters],
        *"RESPONSEFORMAT MAXREC UPLOAD file1 file2 EXECUTIONDURATION".split(),
    ]

    def attributes(name: str) -> dict[str, str]:
        return {key: inputs[name][0].get(key) for key in ("type", "min", "max", "step", "value", "required")}

    none = dict.fromkeys(("type", "min", "max", "step", "value", "required"))
    assert attributes("RADIUS") == none | {"type": "number", "min": "0", "max": "0.5", "step": "any", "value": "0.1"}
    assert attributes("COUNT") == none | {"type": "number", "min": "1", "step": "1"}
    assert attributes("OPEN") == none | {"type": "text", "required": ""}  # NaN and Inf must be possible
    assert attributes("IMAGE") == none | {"type": "file", "required": ""}
    assert attributes("MAXREC") == none | {"type": "number", "min": "0", "max": "2000", "step": "1", "value": "100"}
    assert attributes("EXECUTIONDURATION")["max"] == "7200" and attributes("EXECUTIONDURATION")["value"] == "600"
    assert len(inputs["TAG"]) == 3 and len(inputs["POS"]) == 1
    assert [element.get("value") for element in inputs["UPLOAD"]] == ["table1,param:file1", None]
    assert [element.get("required") is not None for element in inputs["UPLOAD"]] == [True, False]
    assert [element.text for element in inputs["KIND"][0]] == ["a", EVIL]
    assert [element.text for element in inputs["FLAG"][0]] == [None, "true", "false"]
    assert [element.text for element in inputs["RESPONSEFORMAT"][0] if element.get("selected") is not None] == ["csv"]


def test_parameters_are_described() -> None:
    """Units, UCDs, ranges and defaults stand in a table."""
    tree = parsed(pages.application_page(APPLICATION, BASE))
    rows = [[cell.text_content() for cell in row] for row in tree.findall(".//tbody/tr")]
    assert rows[0] == ["RADIUS", "double", "arcsec", "pos.angDistance", "0 … 0.5", "0.1", ""]
    assert (
        rows[1][4] == "≥ 1" and rows[2][5] == "required" and rows[5][1] == "double[3] circle" and rows[7][1] == "file"
    )
    assert "several times" in rows[6][6]


def test_examples_are_command_lines_that_can_be_pasted() -> None:
    """D-017: quoted for a shell, with file parts for uploads."""
    tree = parsed(pages.application_page(APPLICATION, BASE))
    lines = [shlex.split(element.text_content()) for element in tree.findall(".//pre")]
    jobs_url, sync = f"{BASE}/crossmatch/async", f"{BASE}/crossmatch/sync"
    option = "--data-urlencode"
    pairs = [option, "POS=1 2 0.5", option, "TAG=it's", option, "TAG=$HOME"]
    assert lines == [
        ["curl", "-L", *pairs, option, "PHASE=RUN", jobs_url],
        ["curl", "-L", *pairs, sync],
        ["curl", "-L", "-F", "UPLOAD=t,param:file1", "-F", "file1=@file1", "-F", "PHASE=RUN", jobs_url],
        ["curl", "-L", "-F", "UPLOAD=t,param:file1", "-F", "file1=@file1", sync],
    ]


def test_a_bare_application_has_a_page_too() -> None:
    """Nothing declared: a form with two buttons."""
    tree = parsed(pages.application_page(Application("bare", "Bare", "", ("true",)), BASE))
    assert len(buttons(tree)) == 2 and not tree.findall(".//table") and not tree.findall(".//pre")


def test_the_list_shows_phases_and_filters() -> None:
    """U-050…U-053: a link for each phase, the chosen ones marked."""
    refs = [JobRef(str(number), phase, EVIL, EVIL, CREATED) for number, phase in enumerate(Phase)]
    chosen_phases = frozenset({Phase.HELD, Phase.ERROR})
    tree = parsed(pages.jobs_page(APPLICATION, refs, URLS, chosen_phases, 10))
    assert {f"{URLS.jobs}?PHASE={phase}" for phase in Phase} | {URLS.job(ref.id) for ref in refs} <= links(tree)
    assert {element.text for element in tree.findall(".//a[@aria-current]")} == chosen_phases
    assert [element.text for element in tree.findall(".//tbody//span")] == list(Phase)
    assert "10 jobs" in tree.text_content() and tree.text_content().count(EVIL) >= 20
    assert f"{URLS.jobs}?PHASE=ERROR&PHASE=HELD&LAST=100" in links(tree)  # the list was cut: there may be more
    assert not any("LAST" in element for element in links(parsed(pages.jobs_page(APPLICATION, refs, URLS, None, 11))))
    assert "No jobs here" in parsed(pages.jobs_page(APPLICATION, [], URLS, None, 11)).text_content()


ALLOWED = {
    Phase.PENDING: {"Run", "Abort"},
    Phase.HELD: {"Run", "Abort"},
    Phase.QUEUED: {"Abort"},
    Phase.EXECUTING: {"Abort"},
    Phase.SUSPENDED: {"Abort"},
    Phase.UNKNOWN: {"Abort"},
}


@pytest.mark.parametrize("phase", list(Phase))
def test_buttons_and_refresh_follow_the_phase(phase: Phase) -> None:
    """U-024, U-026, U-027, U-108: forms send what programs would."""
    tree = parsed(pages.job_page(replace(PENDING, phase=phase), APPLICATION, [], URLS, CREATED))
    job = URLS.job(PENDING.id)
    possible = {
        "Run": ("post", f"{job}/phase", "PHASE", "RUN"),
        "Abort": ("post", f"{job}/phase", "PHASE", "ABORT"),
        "Delete": ("post", job, "ACTION", "DELETE"),
    }
    expected = ALLOWED.get(phase, set()) | {"Delete"}
    assert buttons(tree) == {name: form for name, form in possible.items() if name in expected}
    refresh = tree.findall(".//meta[@http-equiv='refresh']")
    active = phase in {Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN}
    assert [element.get("content") for element in refresh] == (["3"] if active else [])
    badge = tree.find(f".//span[@class='phase {phase.lower()}']")
    assert badge is not None and badge.text == phase


def test_a_job_is_shown_with_all_that_is_known() -> None:
    """U-076, U-081, U-085: times, results, error, logs, attempts."""
    attempts = [
        Attempt("x", 2, "local", "a", "", state=AttemptState.CLOSED, started=CREATED, ended=CREATED, exit_code=3,
                reason="ExitCode", message=EVIL, usage=Usage(wall=12.5, cpu=3, peak_memory=5 * 1024**2)),
        Attempt("x", 1, "cluster", "a", "", state=AttemptState.CLOSED, reason="AgentLost"),
    ]  # fmt: skip
    tree = parsed(pages.job_page(FULL, APPLICATION, attempts, URLS, CREATED + 10_000))
    text = re.sub(r"\s+", " ", tree.text_content())
    for words in (
        "exit code 3 <&>", "line 1 line 2", "Error: ExitCode", "a b&c<é", "alice@example.org", "half & half",
        "2.0 KiB (2048 bytes)", "ab" * 32, "application/x-votable+xml", "after 3 s", "in 23 h 59 min", "1 h",
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
    numbers = [row[0].text_content() for row in tree.findall(".//section[@aria-labelledby='attempts']//tbody/tr")]
    assert numbers == ["1", "2"]
    assert tree.find(".//time").get("datetime").endswith("Z")  # U-008


def test_an_abort_is_no_error() -> None:
    """An owner's abort is a notice, other failures are errors."""
    abort = ErrorSummary("Aborted at the owner's request.", reason="Aborted")
    tree = parsed(pages.job_page(replace(PENDING, phase=Phase.ABORTED, error=abort), APPLICATION, [], URLS, CREATED))
    assert tree.find(".//section[@class='error']") is None
    notice = tree.find(".//section[@class='notice']")
    assert notice is not None and "Aborted at the owner's request." in notice.text_content()
    failed = replace(PENDING, phase=Phase.ERROR, error=replace(abort, reason="NodeLost"))
    tree = parsed(pages.job_page(failed, APPLICATION, [], URLS, CREATED))
    assert tree.find(".//section[@class='error']") is not None


@pytest.mark.parametrize("state", list(AttemptState))
def test_the_page_of_an_aborted_job_reloads_until_its_attempt_is_closed(state: AttemptState) -> None:
    """The attempt's logs come after the job's end."""
    attempt = Attempt("x", 1, "local", "a", "", state=state)
    page = pages.job_page(replace(PENDING, phase=Phase.ABORTED), APPLICATION, [attempt], URLS, CREATED)
    refreshes = parsed(page).findall(".//meta[@http-equiv='refresh']")
    assert bool(refreshes) is (state is not AttemptState.CLOSED)


def test_a_page_says_why_a_job_is_at_its_site() -> None:
    """What spoke for each site and against it, whatever the words are."""
    placement = (
        Candidate("a", (), (Cost("data", 120.0, EVIL), Cost("load", 0.0, "nothing waits"))),
        Candidate("b", ("it is drained", EVIL)),
    )
    tree = parsed(pages.job_page(replace(PENDING, info=JobInfo(placement=placement)), APPLICATION, [], URLS, CREATED))
    rows = [
        [cell.text_content() for cell in row]
        for row in tree.findall(".//section[@aria-labelledby='placement']//tbody/tr")
    ]
    assert rows == [["a", "120 s", f"{EVIL} (120 s); nothing waits"], ["b", "–", f"it is drained; {EVIL}"]]


def test_a_waiting_job_says_for_what() -> None:
    """The reason, and how many are ahead."""
    queued = replace(PENDING, phase=Phase.QUEUED, info=JobInfo(waiting="waiting for a free slot", ahead=7))
    text = parsed(pages.job_page(queued, APPLICATION, [], URLS, CREATED)).text_content()
    assert "waiting for a free slot (7 ahead)" in text


def test_what_a_form_left_empty_is_not_listed() -> None:
    """Fields without a value are counted, not shown."""
    parameters = (Parameter("A", "x"), Parameter("B", ""), Parameter("C", "", upload="k", size=0), Parameter("D", " "))
    tree = parsed(pages.job_page(replace(PENDING, parameters=parameters), APPLICATION, [], URLS, CREATED))
    assert [element.text_content() for element in tree.findall(".//tbody/tr/th")] == ["A", "D"]
    assert "2 without a value are not shown" in tree.text_content()


def test_a_running_job_says_for_how_long() -> None:
    """``now`` is an argument."""
    running = replace(PENDING, phase=Phase.EXECUTING, started=CREATED)
    text = parsed(pages.job_page(running, APPLICATION, [], URLS, CREATED + 3_723_000)).text_content()
    assert "running for 1 h 2 min" in text


@settings(max_examples=40, deadline=None)
@given(jobs)
def test_any_job_has_a_page(job: Job) -> None:
    """Whatever a job holds is shown and never run."""
    tree = parsed(pages.job_page(job, APPLICATION, [], URLS, CREATED))
    assert job.id in tree.text_content()


def test_errors() -> None:
    """U-001: the page says what the text says."""
    tree = parsed(pages.error_page(404, EVIL, EVIL, EVIL))
    assert tree.text_content().count(EVIL) >= 3 and "HTTP status 404" in tree.text_content()
    assert "HTTP status" not in parsed(pages.error_page(200, "ExitCode", "3", "")).text_content()
    error = replace(FULL, error=ErrorSummary("later", transient=True))
    assert "may succeed later" in parsed(pages.job_page(error, APPLICATION, [], URLS, CREATED)).text_content()


@pytest.mark.parametrize(
    "page",
    [
        pages.root_page([APPLICATION], BASE),
        pages.application_page(APPLICATION, BASE),
        pages.jobs_page(APPLICATION, [], URLS, None, None),
        pages.job_page(FULL, APPLICATION, [], URLS, CREATED),
        pages.error_page(404, "NotFound", "m", "", BASE),
    ],
)
def test_style_sheet_and_icon_are_found(page: str) -> None:
    """Each page links to the files that exist."""
    tree = parsed(page)
    linked = [element.get("href") for element in tree.findall(".//link")]
    assert len(linked) == 2
    for url in linked:
        assert url.startswith(f"{BASE}/static/") and (STATIC / url.rpartition("/")[2]).is_file()


def test_the_policy_allows_no_script() -> None:
    """Pages may have their own style and forms alone."""
    policy = dict(part.strip().split(" ", 1) for part in pages.HEADERS["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and "script-src" not in policy
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == policy["style-src"] == "'self'"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    """Binary units, one digit."""
    assert pages._bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3.25, "3.2 s"),
        (59.97, "1 min"),
        (60, "1 min"),
        (303, "5 min 3 s"),
        (3600, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """The two largest units."""
    assert pages._seconds(seconds) == text
