"""The conformance suite on our own service, for tests: its applications with their profiles, several at once.

What may be skipped is argued here: ``REASONS`` has every text that a skip may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from uws_conformance.bench import Bench
from uws_conformance.http import ANONYMOUS, Client, Identity, Limits
from uws_conformance.outcomes import Outcome
from uws_conformance.profile import Profile, load, parse
from uws_conformance.registry import all_checks
from uws_conformance.runner import Report, run

from tests.server import Server

DID = "ivo://test.example/sky"
NO_LONG = "kind 'long'"  # cutouts and small tables are quick
NO_UPLOAD = "kind 'upload'"
REASONS: Mapping[str, tuple[str, ...]] = {
    "sleep": (NO_UPLOAD,),
    "tap": (),
    "cutout": (NO_LONG, NO_UPLOAD, "soda has no"),  # pictures without an axis of wavelength, time or polarization
    "images": (NO_LONG, NO_UPLOAD, "soda has no TIME"),  # no axis of time
    "crossmatch": (NO_LONG, "a file, which GET cannot send"),
}
OPEN = ("no credentials were given", "no 401 to look at")  # nobody is asked who he is
SKY = {
    "short": {"ID": f"{DID}?cube", "CIRCLE": "10.0 20.0 0.03"},
    "failing": {"ID": f"{DID}?nothing", "CIRCLE": "10.0 20.0 0.03"},
    "parameter": {"POS": "CIRCLE 10.0 20.0 0.02"},
    "soda": {
        "ID": f"{DID}?cube",
        "CIRCLE": ["10.0 20.0 0.03", "10.05 20.05 0.02"],
        "OUTSIDE": "10.0 -60.0 0.01",
        "POS": "RANGE 9.95 10.05 19.95 20.05",
        "POLYGON": "9.95 19.95 10.05 19.95 10.0 20.05",
        "BAND": "0.2115 0.2130",
        "POL": "Q",
    },
    "chapters": ["UWS 1.1", "DALI 1.1", "VOSI 1.1", "SODA 1.0", "SSO 2.0", "Clients"],
    "sync": True,
}


def profiles() -> dict[str, Profile]:
    """Application -> its profile; with waits that are long enough on the own machine."""
    ready = {"sleep": "uws-service", "tap": "uws-service-tap", "cutout": "cutout", "crossmatch": "crossmatch"}
    found = {application: load(name) for application, name in ready.items()} | {"images": parse(SKY, "sky")}
    return {application: replace(one, wait=1, poll=0.05) for application, one in found.items()}


def look(
    url: str,
    profile: Profile,
    me: Identity = ANONYMOUS,
    other: Identity | None = None,
    *,
    only: tuple[str, ...] = ("",),
) -> Report:
    """What the checks find at one job list; ``only`` has the beginnings of their ids."""
    client = Client(Limits(), me)
    try:
        chosen = [check for check in all_checks() if check.id.startswith(only)]
        return run(Bench(url, profile, client, other), chosen)
    finally:
        client.close()


def looks(
    server: Server, applications: Iterable[str], *who: Identity, patience: float = 60, at_once: int = 5
) -> dict[str, Report]:
    """The reports of several applications, made side by side: checks mostly wait."""
    known = {application: replace(profile, patience=patience) for application, profile in profiles().items()}
    with ThreadPoolExecutor(at_once) as pool:
        made = {
            application: pool.submit(look, f"{server.url}/{application}/async", known[application], *who)
            for application in applications
        }
        return {application: one.result() for application, one in made.items()}


def judge(application: str, report: Report, *reasons: str) -> None:
    """No fail, no warning, no job left, and no skip but for a reason that is argued."""
    broken = [f"{one.id}: {one.observation}" for one in report.results if one.outcome in (Outcome.FAIL, Outcome.WARN)]
    assert not broken, broken
    assert not report.undeleted and not report.stop_reason, (report.undeleted, report.stop_reason)
    skips = [f"{one.id}: {one.observation}" for one in report.results if one.outcome is Outcome.SKIP]
    allowed = (*REASONS[application], *reasons)
    strange = [one for one in skips if not any(re.search(reason, one) for reason in allowed)]
    assert not strange, strange
    assert report.count(Outcome.PASS) > 220, report.count(Outcome.PASS)


def judge_ownership(report: Report, wanted: Outcome) -> None:
    """Whether other people's jobs and challenges were looked at (U-161, A-004)."""
    seen = {one.id: one.outcome for one in report.results}
    assert seen["U-161.other-DELETE-job"] is wanted and seen["A-004.challenge"] is wanted, seen
