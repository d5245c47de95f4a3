"""The first page, and those of applications."""

from __future__ import annotations

import shlex
from dataclasses import replace

from tests.web.page_reader import APPLICATION, BASE, EVIL, buttons, links, parsed
from uws_service.applications import Application
from uws_service.domain.job import Phase
from uws_service.domain.search import Row
from uws_service.web.home_page import OwnJobs, application_page, root_page


def test_root_lists_applications_and_their_resources() -> None:
    """D-002, D-003: everything is reached from the first page."""
    tree = parsed(root_page([APPLICATION, replace(APPLICATION, name="bare", examples=())], BASE))
    for child in ("", "/new", "/async", "/capabilities", "/availability", "/examples"):
        assert f"{BASE}/crossmatch{child}" in links(tree)
    assert f"{BASE}/bare/async" in links(tree) and f"{BASE}/bare/examples" not in links(tree)
    assert EVIL in tree.text_content()
    assert "no applications" in parsed(root_page([], BASE)).text_content()


def test_root_shows_the_last_jobs() -> None:
    """With phases, and counts that lead to the lists; nothing for those who have no list."""
    row = Row("01abcdef99", "crossmatch", Phase.EXECUTING, EVIL, 1, 2, None, 3, 4, 0.5, EVIL, "local")
    jobs = OwnJobs([row], {Phase.EXECUTING: 1, Phase.COMPLETED: 7})
    tree = parsed(root_page([APPLICATION], BASE, jobs=jobs))
    assert f"{BASE}/crossmatch/async/01abcdef99" in links(tree) and tree.text_content().count(EVIL) >= 3
    assert [item.text_content() for item in tree.findall(".//ul[@class='links counts']/li")] == ["1 running", "7 done"]
    assert "You have none yet" in parsed(root_page([APPLICATION], BASE, jobs=OwnJobs())).text_content()
    assert "My last jobs" not in parsed(root_page([APPLICATION], BASE)).text_content()


def test_applications_are_found_by_words() -> None:
    """All words must occur."""
    several = [replace(APPLICATION, name=name, title=f"Title of {name}") for name in ("a1", "b2", "c3", "d4")]
    tree = parsed(root_page(several, BASE, words="title B2"))
    assert f"{BASE}/b2" in links(tree) and f"{BASE}/a1" not in links(tree)
    assert "No application has these words" in parsed(root_page(several, BASE, words="zzz")).text_content()


def test_an_application_says_how_busy_it_is() -> None:
    """Of all callers, without saying whose jobs they are."""
    text = parsed(application_page(APPLICATION, BASE, queue={Phase.EXECUTING: 2, Phase.QUEUED: 1})).text_content()
    assert "Now 2 jobs run and 1 waits" in text


def test_parameters_are_described() -> None:
    """Units, UCDs, ranges and defaults stand in a table."""
    tree = parsed(application_page(APPLICATION, BASE))
    rows = [[cell.text_content() for cell in row] for row in tree.findall(".//tbody/tr")]
    assert rows[0] == ["RADIUS", "double", "arcsec", "pos.angDistance", "0 … 0.5", "0.1", ""]
    assert (
        rows[1][4] == "≥ 1" and rows[2][5] == "required" and rows[5][1] == "double[3] circle" and rows[7][1] == "file"
    )
    assert "several times" in rows[6][6]


def test_examples_are_command_lines_that_can_be_pasted() -> None:
    """D-017: quoted for a shell, with file parts for uploads."""
    tree = parsed(application_page(APPLICATION, BASE))
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
    """Nothing declared: no tables and no examples."""
    tree = parsed(application_page(Application("bare", "Bare", "", ("true",)), BASE))
    assert not buttons(tree) and not tree.findall(".//table") and not tree.findall(".//pre")
