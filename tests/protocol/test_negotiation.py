"""The form of an answer, for headers that clients send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.protocol.negotiation import choose, names

JOB = ("xml", "json", "html")
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JAVA_17 = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "xml"),
        ("", "xml"),
        ("*/*", "xml"),
        ("application/xml,text/plain", "xml"),
        (JAVA_17, "xml"),
        ("text/html, image/gif, image/jpeg, */*; q=0.2", "xml"),
        ("text/plain", "xml"),  # astroquery; no 406 (C-18)
        ("text/html", "xml"),
        (CHROMIUM, "html"),
        (FIREFOX, "html"),
        ("TEXT/HTML, Application/XHTML+XML", "html"),
        ("application/xhtml+xml", "xml"),
        ("application/xml, text/html;q=0.5, application/xhtml+xml;q=0.5", "xml"),
        ("text/html;q=0, application/xhtml+xml", "xml"),
        ("application/json", "json"),
        ("application/json, */*;q=0.5", "json"),  # httpie
        ("application/json, text/plain, */*", "json"),  # axios
        ("application/json;q=0.5, text/xml", "xml"),
        ("application/json;q=0", "xml"),
        ("application/json;q=nonsense", "json"),
        (";;,,;q", "xml"),
    ],
)
def test_job_resources(accept: str | None, form: str) -> None:
    """U-005, C-32: XML unless JSON or a browser asks."""
    assert choose(accept, JOB) == form


@pytest.mark.parametrize(
    ("accept", "form"), [(None, "text"), (JAVA_17, "text"), (FIREFOX, "html"), ("text/xml", "text")]
)
def test_errors(accept: str | None, form: str) -> None:
    """Where no XML is offered, text is what programs get (D-045)."""
    assert choose(accept, ("text", "json", "html")) == form


def test_named_types() -> None:
    """A plain-text error only for those who name it (D-043)."""
    assert names("text/plain, */*", "text/plain")
    assert (
        not names("*/*", "text/plain") and not names(None, "text/plain") and not names("text/plain;q=0", "text/plain")
    )


@given(
    st.text() | st.lists(st.sampled_from([*CHROMIUM.split(","), "*/*", ";", "q=2", "application/json"])).map(",".join)
)
def test_any_header_gets_one_of_the_offered_forms(accept: str) -> None:
    """U-005: HTML only for who names it."""
    form = choose(accept, JOB)
    assert form in JOB
    assert form != "html" or ("text/html" in accept.lower() and "application/xhtml+xml" in accept.lower())
    assert form != "json" or "application/json" in accept.lower()
