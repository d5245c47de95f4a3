"""The conformance suite on the service whose jobs run in pods: nothing broken, with and without tokens."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from uws_conformance.http import Identity
from uws_conformance.outcomes import Outcome

from tests.cluster.service import ClusterServer, settings_of
from tests.conformance import OPEN, check_applications, judge, judge_ownership
from tests.issuers import NanoIdp
from tests.rig.site import Site

APPLICATIONS = ("sleep", "tap", "cutout", "crossmatch")
IS_COMPLETE = os.environ.get("UWS_TEST_CONFORMANCE") == "all"
"""`make soak-cluster` checks every application in both ways, and others two of them with tokens."""


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        pytest.param("open", APPLICATIONS if IS_COMPLETE else ("sleep", "cutout"), marks=pytest.mark.soak),
        ("tokens", APPLICATIONS if IS_COMPLETE else ("tap", "crossmatch")),
    ],
)
def test_no_fail_and_no_warning(kind: str, names: tuple[str, ...], site_a: Site, folder: Path, tmp_path: Path) -> None:
    """All faces of the service, side by side.

    The same jobs as on the embedded one.
    """
    # The machine is busy with the pods of several jobs: the site's patience is that of a real one.
    settings = settings_of(site_a, image_patience=120, schedule_patience=120)
    server = ClusterServer(folder, [settings], site_a.host_address, reap_interval=0.3)
    with ExitStack() as until:
        identities: list[Identity] = []
        if kind == "tokens":
            issuer = NanoIdp(tmp_path)
            issuer.start()
            until.callback(issuer.stop)
            server.settings = {
                "UWS_DATA": server.settings["UWS_DATA"],
                "UWS_AUTH": json.dumps({"issuers": [issuer.settings()]}),
            }
            identities = [
                Identity(name, {"Authorization": f"Bearer {issuer.token(name)}"}) for name in ("alice", "bob")
            ]
        server.start()
        until.callback(server.stop)
        findings = check_applications(server, names, *identities, patience=180, at_once=3)
    for application, report in findings.items():
        judge(application, report, *(OPEN if kind == "open" else ()))
        judge_ownership(report, Outcome.SKIP if kind == "open" else Outcome.PASS)
