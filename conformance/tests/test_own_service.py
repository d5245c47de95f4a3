"""The service of this project, open and with tokens.

No rule is broken and none is warned about, for any kind of application.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from uws_conformance.http import Identity
from uws_conformance.outcomes import Outcome
from uws_conformance.runner import Report

from tests.conformance import DID, OPEN, REASONS, check_applications, judge, judge_ownership
from tests.issuers import NanoIdp
from tests.server import Server
from tests.soda import skies
from uws_service.cli import run as uws_service

# test_install.py checks the open `sleep`.
APPLICATIONS = {"open": ("tap", "images"), "tokens": tuple(REASONS)}


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the descriptor of an image service."""
    folder = tmp_path_factory.mktemp("sky")
    skies.cube(folder / "cube.fits")
    descriptor = folder / "images.yaml"
    options = ["--index", str(folder / "images.jsonl"), "--did", DID, "--application", str(descriptor)]
    assert uws_service(["images", "add", str(folder), *options, "--collection", "Tests"]) == 0
    return descriptor


@pytest.fixture(scope="module", params=["open", "tokens"])
def reports(request: pytest.FixtureRequest, sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """Check an open service, and one that requires tokens."""
    settings = {"UWS_APPLICATIONS": f'["{sky}"]', "UWS_REAP_INTERVAL": "0.3"}
    with ExitStack() as stack:
        identities: list[Identity] = []
        if request.param == "tokens":
            issuer = NanoIdp(tmp_path_factory.mktemp("issuer"))
            issuer.start()
            stack.callback(issuer.stop)
            settings["UWS_AUTH"] = json.dumps({"issuers": [issuer.settings()]})
            identities = [
                Identity(name, {"Authorization": f"Bearer {issuer.token(name)}"}) for name in ("alice", "bob")
            ]
        server = Server(tmp_path_factory.mktemp(request.param), settings)
        server.start()
        stack.callback(server.stop)
        yield request.param, check_applications(server, APPLICATIONS[request.param], *identities)


Reports = tuple[str, dict[str, Report]]


def test_no_fail_and_no_warning(reports: Reports) -> None:
    kind, by_application = reports
    assert set(by_application) == set(APPLICATIONS[kind])
    for application, report in by_application.items():
        judge(application, report, *(OPEN if kind == "open" else ()))
        judge_ownership(report, Outcome.SKIP if kind == "open" else Outcome.PASS)
