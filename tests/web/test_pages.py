"""What all pages share.

Errors, their files, their policy.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from tests.protocol.samples import CREATED, FULL, URLS
from tests.web.page_reader import APPLICATION, BASE, EVIL, parsed
from uws_service.domain.job import ErrorSummary
from uws_service.web import pages
from uws_service.web.form_page import Form, new_job_page
from uws_service.web.home_page import application_page, root_page
from uws_service.web.job_page import JobView, job_page
from uws_service.web.list_page import jobs_page

STATIC = Path(pages.__file__).parent / "static"


def test_errors() -> None:
    """U-001: the page says what the text says."""
    tree = parsed(pages.error_page(404, EVIL, EVIL, EVIL))
    assert tree.text_content().count(EVIL) >= 3 and "HTTP status 404" in tree.text_content()
    assert "HTTP status" not in parsed(pages.error_page(200, "ExitCode", "3", "")).text_content()
    error = replace(FULL, error=ErrorSummary("later", transient=True))
    assert "may succeed later" in parsed(job_page(error, JobView(APPLICATION), URLS, CREATED)).text_content()


@pytest.mark.parametrize(
    "page",
    [
        root_page([APPLICATION], BASE),
        application_page(APPLICATION, BASE),
        new_job_page(Form(APPLICATION), BASE),
        jobs_page(APPLICATION, [], URLS, None, None),
        job_page(FULL, JobView(APPLICATION), URLS, CREATED),
        pages.error_page(404, "NotFound", "m", "", BASE),
    ],
)
def test_style_sheet_and_icon_are_found(page: str) -> None:
    """Each page links to the files that exist."""
    tree = parsed(page)
    linked = [element.get("href") for element in tree.findall(".//link")]
    linked += [element.get("src") for element in tree.findall(".//script")]
    assert len(linked) >= 3
    for url in linked:
        assert url.startswith(f"{BASE}/static/") and (STATIC / url.rpartition("/")[2]).is_file()


def test_the_policy_allows_own_scripts_alone() -> None:
    """Pages may have the service's own style, scripts, streams and forms alone: nothing in the page, no eval."""
    policy = dict(part.strip().split(" ", 1) for part in pages.HEADERS["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[name] for name in ("script-src", "connect-src", "form-action", "style-src")} == {"'self'"}


def test_scripts_are_small() -> None:
    """All of the page of a job together: less than 60 kB, compressed.

    Libraries are loaded only where they are used.
    """
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in STATIC.glob("*.js")}
    libraries = {name: sizes.pop(name) for name in ("editor.js", "uplot.js", "samp.js")}
    assert sizes["page.js"] + sizes["job.js"] < 60_000 and max(sizes.values()) < 20_000
    assert max(libraries.values()) < 150_000
