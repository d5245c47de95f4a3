"""What a shared service says of itself.

On its pages, in the root's JSON, in VOSI; and what it does not offer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server import Server
from uws_service.configuration import applications_of
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'
CONFIG = """\
base_url: https://jobs.example.org/uws
hosts: ["*"]
presentation:
  title: Jobs of <Example>
  contact: help@example.org
  banner: Closed on Sunday & Monday.
  terms: https://example.org/terms
  logo: logo.svg
"""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Return a client of a public service with a title."""
    folder = tmp_path_factory.mktemp("presented")
    (folder / "logo.svg").write_text(LOGO)
    server = Server(folder, config=CONFIG)
    server.start()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.stop()


@pytest.mark.parametrize("path", ["/", "/crossmatch", "/crossmatch/async", "/jobs", "/no-such-thing"])
def test_each_page_has_head_and_foot(http: httpx2.Client, path: str) -> None:
    """Title, banner, contact and terms, escaped; error pages too."""
    page = http.get(path, headers={"accept": "text/html,application/xhtml+xml"}).text
    assert "– Jobs of &lt;Example&gt;</title>" in page
    assert "Closed on Sunday &amp; Monday." in page and "<Example>" not in page
    assert 'href="mailto:help@example.org"' in page and 'href="https://example.org/terms"' in page
    assert 'src="https://jobs.example.org/uws/static/logo"' in page


def test_programs_learn_it_too(http: httpx2.Client) -> None:
    """The root's JSON has all, VOSI's availability the banner; the service stays available."""
    root = http.get("/", headers={"accept": "application/json"}).json()
    assert (root["title"], root["contact"]) == ("Jobs of <Example>", "help@example.org")
    availability = http.get("/crossmatch/availability").text
    assert "available>true<" in availability and "Closed on Sunday &amp; Monday." in availability


def test_the_logo_can_do_nothing(http: httpx2.Client) -> None:
    """It is a picture, also when somebody opens it by itself."""
    answer = http.get("/static/logo")
    assert answer.text == LOGO and answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_public_service_offers_no_naps(http: httpx2.Client) -> None:
    """`sleep` is for trying things out."""
    listed = http.get("/", headers={"accept": "application/json"}).json()["applications"]
    names = [entry["name"] for entry in listed]
    assert "crossmatch" in names and "sleep" not in names and http.get("/sleep/async").status_code == 404


@pytest.mark.parametrize(
    ("changes", "has_sleep"),
    [
        ({}, True),
        ({"base_url": "http://127.0.0.1:8080"}, True),
        ({"base_url": "http://localhost:8080/x"}, True),
        ({"base_url": "http://10.1.2.3:8080"}, True),
        ({"base_url": "http://8.8.8.8"}, False),
        ({"base_url": "https://jobs.example.org"}, False),
        ({"base_url": "https://jobs.example.org", "builtin_applications": ["sleep"]}, True),
        ({"builtin_applications": ["crossmatch"]}, False),
    ],
)
def test_which_applications_ship(tmp_path: Path, changes: dict[str, Any], has_sleep: bool) -> None:
    """By default all but `sleep` on public services; or those that are named."""
    assert ("sleep" in applications_of(Settings.load(data=tmp_path, **changes))) is has_sleep


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("contact", "nobody", "must be a mail address or an http(s) URL"),
        ("contact", "javascript:alert(1)", "must be a mail address or an http(s) URL"),
        ("terms", "javascript:alert(1)", "must be an http(s) URL"),
        ("logo", "logo.html", "must end in .svg, .png, .jpg, .webp"),
        ("logo", "absent.svg", "must be a file of at most 262144 bytes"),
        ("titel", "x", "is not known; did you mean title?"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, field: str, value: str, message: str) -> None:
    """Each is told with its field."""
    file = tmp_path / "service.yaml"
    file.write_text(f"presentation:\n  {field}: '{value}'\n")
    with pytest.raises(ConfigurationError) as raised:
        Settings.load(file)
    assert f"service.yaml:2: presentation.{field}: " in raised.value.message and message in raised.value.message


def test_a_name_that_does_not_ship(tmp_path: Path) -> None:
    """The names that do are told."""
    with pytest.raises(ConfigurationError, match=r"nap: no such application ships; there are: .*crossmatch.*sleep"):
        applications_of(Settings.load(data=tmp_path, builtin_applications=["nap"]))
