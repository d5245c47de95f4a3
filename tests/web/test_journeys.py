"""Journeys of people through the pages, in a real browser with and without script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.server import Server
from tests.web.pages_server import EVIL, PATIENCE_MS, Person, browser, server

__all__ = ["browser", "server"]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def alice(browser: Browser, server: Server) -> Iterator[Person]:
    """Yield somebody with a browser.

    Its console stays without errors.
    """
    person = Person(browser, server, "alice", viewport={"width": 1100, "height": 900})
    yield person
    person.close()
    assert not person.problems


def test_a_failed_job_is_mended_and_followed(alice: Person) -> None:
    """F7, F8, F22: fix and run again, and see it end without a reload."""
    failed = alice.job(EXIT="4", TAG="keep me", RUNID="try 1", PHASE="RUN")
    assert alice.ended(failed) == "ERROR"
    page = alice.open(failed)
    assert "exit code 4" in page.locator("section.error").inner_text()
    alice.shoot("job-failed")
    page.get_by_role("link", name="Fix and run again").click()
    expect(page.get_by_label("EXIT")).to_have_value("4")
    expect(page.get_by_label("TAG").first).to_have_value("keep me")
    page.get_by_label("EXIT").fill("0")
    page.get_by_label("SECONDS").fill("2")
    page.get_by_label("Name of the job").fill("try 2")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url(re.compile(r"/probe/async/\w+$"))
    assert page.url != failed
    page.evaluate("window.sameDocument = true")
    status = page.get_by_role("status").first
    expect(status).to_contain_text("COMPLETED")
    assert page.evaluate("window.sameDocument") is True
    expect(page).to_have_title("COMPLETED – try 2")
    expect(page.get_by_role("link", name="Download all")).to_be_visible()
    assert "keep me" in page.locator("#parameters + table").inner_text()
    alice.shoot("job-done")
    first = page.url
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != first)
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")


def test_a_file_is_dropped(alice: Person) -> None:
    """F6: nobody types DALI's syntax; what is missing is said beside its input, and no job is made."""
    page = alice.open("/copies/new")
    page.get_by_label("STAMP").select_option("yes")
    page.get_by_role("button", name="Create and run").click()
    problem = page.locator("#FILE-error")
    expect(problem).to_contain_text("FILE is required")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("STAMP")).to_have_value("yes")
    assert alice.http.get("/copies/async", headers={"accept": "application/json"}).json()["jobs"] == []
    transfer = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['m 31'], 'm31.txt')); return data; }"
    )
    page.locator("[data-field=FILE] [data-drop]").dispatch_event("drop", {"dataTransfer": transfer})
    expect(problem).to_be_empty()
    page.locator("#calls summary").click()
    expect(page.locator("[data-call=curl]")).to_contain_text("FILE=@m31.txt")
    expect(page.locator("[data-call=cli]")).to_contain_text("--file FILE=@m31.txt")
    alice.shoot("new-job")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url(re.compile(r"/copies/async/\w+$"))
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")
    assert alice.http.get(f"{page.url}/results/copy").text.startswith("m 31")


def test_three_hundred_jobs_are_told_apart(alice: Person) -> None:
    """F16, F17: find by a word in a parameter, select, and delete after a question."""
    rows = "".join(f"{'needle' if number in (7, 70) else 'hay'}\n" for number in range(100))
    for name in ("one", "two", "three"):
        made = alice.http.post("/probe/bulk", files={"TABLE": ("t.csv", f"TAG\n{rows}")}, data={"RUNID": name})
        assert made.status_code < 400, made.text
    page = alice.open("/jobs")
    assert page.locator("tr[data-row]").count() == 50
    alice.shoot("jobs")
    page.get_by_label("In parameters").fill("needle")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr[data-row]")).to_have_count(6)
    page.get_by_label("Select all 6 here").check()
    page.locator("[name=JOB]").first.uncheck()
    expect(page.get_by_text("5 selected")).to_be_visible()
    page.get_by_role("button", name="Delete …").click()
    assert "5 jobs" in page.locator("main").inner_text()
    page.get_by_role("button", name="Delete 5 jobs").click()
    page.wait_for_url("**/jobs")
    page.get_by_label("In parameters").fill("needle")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    page.get_by_role("button", name="Delete all …").click()
    page.get_by_role("button", name="Delete 1 job").click()
    page.wait_for_url("**/jobs")
    assert page.locator("tr[data-row]").count() == 50


def test_a_running_job_is_followed_by_keyboard_alone(alice: Person) -> None:
    """WCAG 2.2.1: focus stays while the page changes, also where the button under it goes."""
    page = alice.open(alice.job(SECONDS="4", RUNID="keys", PHASE="RUN"))
    expect(page.get_by_role("status").first).to_contain_text("EXECUTING")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Abort":
            break
    assert page.evaluate("document.activeElement.textContent") == "Abort"
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")
    expect(page.get_by_role("button", name="Abort")).to_have_count(0)
    assert page.evaluate("document.activeElement.closest('[data-part=actions]') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    page.locator("#delete summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete it")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete it")).to_be_hidden()


def test_a_name_is_not_lost_while_the_page_changes(alice: Person) -> None:
    """What somebody is typing stays; the name is saved and found again."""
    job = alice.job(SECONDS="3", PHASE="RUN")
    page = alice.open(job)
    page.get_by_text("Give it a name").click()
    page.get_by_label("Name of the job").fill("My field")
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")
    expect(page.get_by_label("Name of the job")).to_have_value("My field")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("My field")
    assert alice.http.get(f"{job}/name").text == "My field"
    page = alice.open("/")
    expect(page.get_by_role("link", name="My field")).to_be_visible()
    alice.shoot("home")


def test_everything_works_without_script(browser: Browser, server: Server) -> None:
    """Forms, errors beside inputs, a page that renews itself, a question before a deletion."""
    person = Person(browser, server, "bob", java_script_enabled=False)
    page = person.open("/")
    page.locator("a[href$='/probe/new']").click()
    page.get_by_label("SECONDS").fill("2")
    page.get_by_label("TAG").nth(1).fill("second")
    page.locator("[name='table-1.name']").fill("9 wrong")
    page.locator("form.new").evaluate("form => form.setAttribute('novalidate', '')")
    page.locator("[name='table-1.url']").fill("https://example.org/t.csv")
    page.get_by_role("button", name="Create and run").click()
    expect(page.locator("#UPLOAD-error")).to_contain_text("table name")
    expect(page.get_by_label("SECONDS")).to_have_value("2")
    page.locator("[name='table-1.name']").fill("")
    page.locator("[name='table-1.url']").fill("")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url(re.compile(r"/probe/async/\w+$"))
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")
    assert "second" in page.locator("#parameters + table").inner_text()
    page.get_by_text("Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/probe/async")
    person.close()
    refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)"  # the form, once
    assert person.problems == [refused]


MODES: Mapping[str, Mapping[str, Any]] = {
    "light": {"viewport": {"width": 1100, "height": 900}},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "zoomed": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_page_in_every_light(browser: Browser, server: Server, mode: str) -> None:
    """Axe finds nothing, nothing is wider than the window; WCAG 1.4.10 and 1.4.3."""
    person = Person(browser, server, "carol", **MODES[mode])
    done = person.job(
        "probe", RUNID="A long name of a job, as people write them", TAG="x" * 300, OUTPUT="2048", PHASE="RUN"
    )
    failed = person.job(EXIT="3", PHASE="RUN", NOSUCH="1")
    assert person.ended(done) == "COMPLETED" and person.ended(failed) == "ERROR"
    aborted = person.job(SECONDS="20", PHASE="RUN")
    person.http.post(f"{aborted}/phase", data={"PHASE": "ABORT"})
    running = person.job(SECONDS="25", PHASE="RUN")
    pending = person.job()
    paths = {
        "home": "/", "application": "/probe", "new": "/probe/new", "new-file": "/copies/new", "jobs": "/jobs",
        "filtered": "/jobs?NAME=zzz", "list": "/probe/async", "done": done, "failed": failed, "aborted": aborted,
        "running": running, "pending": pending, "copy": f"{failed}/copy", "shares": f"{done}/shares",
        "notifications": "/notifications", "usage": "/usage", "account": "/account", "missing": "/nothing",
    }  # fmt: skip
    problems = {}
    for name, path in paths.items():
        page = person.open(path)
        if hits := person.violations():
            problems[name] = hits
        if (excess := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            problems[f"{name} is too wide"] = excess
        person.shoot(f"{mode}-{name}")
    person.http.post(f"{running}/phase", data={"PHASE": "ABORT"})
    person.close()
    assert problems == {}


def test_nothing_that_users_write_is_run(alice: Person, tmp_path: Path) -> None:
    """XSS: names, values, names of files, logs, and what the script puts into the page later."""
    evil_file = tmp_path / "file"
    evil_file.write_text(EVIL)
    job = alice.job(TAG=EVIL, RUNID=EVIL[:60], SECONDS="2", PHASE="RUN", **{EVIL[:40]: "1"})
    page = alice.open(job)
    expect(page.get_by_role("status").first).to_contain_text("COMPLETED")
    assert EVIL in page.inner_text("body") and EVIL[:60] in page.title()
    made = alice.http.post("/copies/async", data={"PHASE": "RUN"}, files={"FILE": (EVIL, evil_file.read_bytes())})
    for path in (made.headers["location"], f"{made.headers['location']}/copy", f"{job}/copy", "/jobs", "/"):
        assert EVIL[:20] in alice.open(path).inner_text("body") or EVIL[:20] in page.content().replace("&lt;", "<")
    alice.open(
        "/probe/new?"
        + str(alice.http.build_request("GET", "/", params={"TAG": EVIL, "RUNID": EVIL}).url.query.decode())
    )
    expect(page.get_by_label("TAG").first).to_have_value(EVIL)
    page.get_by_label("TAG").first.fill(EVIL + "2")
    page.locator("#calls summary").click()
    expect(page.locator("[data-call=pyvo]")).to_contain_text("onerror=alert(1)>")
