"""Lists of jobs: filters, groups, selection."""

from __future__ import annotations

from typing import Any

from tests.protocol.samples import CREATED, URLS
from tests.web.page_reader import APPLICATION, BASE, EVIL, buttons, links, parsed
from uws_service.domain.job import JobRef, Phase
from uws_service.domain.search import Row
from uws_service.web.list_page import all_jobs_page, jobs_page


def test_the_list_shows_phases_and_filters() -> None:
    """U-050…U-053: a link for each phase, the chosen ones marked."""
    refs = [JobRef(str(number), phase, EVIL, EVIL, CREATED) for number, phase in enumerate(Phase)]
    chosen_phases = frozenset({Phase.HELD, Phase.ERROR})
    tree = parsed(jobs_page(APPLICATION, refs, URLS, chosen_phases, 10))
    assert {f"{URLS.jobs}?PHASE={phase}" for phase in Phase} | {URLS.job(ref.id) for ref in refs} <= links(tree)
    assert {element.text for element in tree.findall(".//a[@aria-current]")} == chosen_phases
    assert [element.text for element in tree.findall(".//tbody//span")] == list(Phase)
    assert "10 jobs" in tree.text_content() and tree.text_content().count(EVIL) >= 20
    assert f"{URLS.jobs}?PHASE=ERROR&PHASE=HELD&LAST=100" in links(tree)  # the list was cut: there may be more
    assert not any("LAST" in element for element in links(parsed(jobs_page(APPLICATION, refs, URLS, None, 11))))
    assert "No jobs here" in parsed(jobs_page(APPLICATION, [], URLS, None, 11)).text_content()


def listed(rows: list[Row], chosen: dict[str, list[str]] | None = None, **values: Any) -> Any:
    """Return the page over all applications, parsed."""
    return parsed(all_jobs_page(rows, BASE, {"PHASE": [], "SORT": [], "APPLICATION": [], "NAME": [], "TEXT": [],
                                             "SITE": [], **(chosen or {})}, ["a"], None, **values))  # fmt: skip


def test_the_list_over_all_applications() -> None:
    """Names, phases with progress, how long they took; groups of phases with their counts."""
    rows = [
        Row("01abcdef99", "a", Phase.EXECUTING, EVIL, 1, 2, None, 3, 2048, 0.5, EVIL, "local"),
        Row("02abcdef99", "a", Phase.COMPLETED, None, 1, 1000, 4000, None, 0, None, "", "local"),
    ]
    tree = listed(rows, counts={Phase.EXECUTING: 1, Phase.COMPLETED: 41})
    assert {f"{BASE}/a/async/{row.id}" for row in rows} <= links(tree)
    cells = [[cell.text_content().strip() for cell in row] for row in tree.findall(".//tbody/tr")]
    assert cells[0][1] == EVIL and cells[1][1] == "…abcdef99" and cells[1][5] == "3 s" and cells[0][6] == "2.0 KiB"
    assert tree.find(".//tbody//progress").get("value") == "50"
    groups = [item.text_content() for item in tree.findall(".//ul[@class='links counts']/li")]
    assert groups == ["All", "Waiting (0)", "Running (1)", "Done (41)", "Failed (0)", "Aborted (0)"]
    assert len(tree.findall(".//input[@name='JOB']")) == 2 and {"Abort", "Delete …"} <= set(buttons(tree))


def test_filters_are_said_and_go_with_all_that_match() -> None:
    """What is on is told, and what is done with all of them is done with these alone."""
    chosen = {"PHASE": ["ERROR"], "NAME": [EVIL]}
    tree = listed([Row("01", "a", Phase.ERROR, None, 1, None, 2, None, 0, None, "", "")], chosen)
    assert f"phase ERROR, name has {EVIL}" in tree.text_content()
    form = tree.find(".//form[@aria-label='All that match']")
    values = {(item.get("name"), item.get("value")) for item in form.iter("input")}
    assert values == {("PHASE", "ERROR"), ("NAME", EVIL), ("DRYRUN", "1")}
    assert {group.get("aria-current") for group in tree.findall(".//ul[@class='links counts']//a")} == {None, "true"}
    assert "No jobs here with these filters" in listed([], chosen).text_content()
