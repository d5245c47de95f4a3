"""The conformance suite on our own service, for tests.

Its applications with their profiles, several at once.

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
    """Return the profile of each application, with short waits."""
    names = {"sleep": "uws-service", "tap": "uws-service-tap", "cutout": "cutout", "crossmatch": "crossmatch"}
    by_application = {application: load(name) for application, name in names.items()} | {"images": parse(SKY, "sky")}
    return {application: replace(profile, wait=1, poll=0.05) for application, profile in by_application.items()}


def check_list(
    url: str,
    profile: Profile,
    identity: Identity = ANONYMOUS,
    other_identity: Identity | None = None,
    *,
    prefixes: tuple[str, ...] = ("",),
) -> Report:
    """Run the checks whose ids begin with a prefix on a job list."""
    client = Client(Limits(), identity)
    try:
        checks = [check for check in all_checks() if check.id.startswith(prefixes)]
        return run(Bench(url, profile, client, other_identity), checks)
    finally:
        client.close()


def check_applications(
    server: Server,
    applications: Iterable[str],
    *identities: Identity,
    patience: float = 60,
    at_once: int = 5,
    prefixes: tuple[str, ...] = ("",),
) -> dict[str, Report]:
    """Check several applications at the same time.

    Checks mostly wait.
    """
    by_application = {application: replace(profile, patience=patience) for application, profile in profiles().items()}
    with ThreadPoolExecutor(at_once) as pool:
        futures = {
            application: pool.submit(
                check_list,
                f"{server.url}/{application}/async",
                by_application[application],
                *identities,
                prefixes=prefixes,
            )
            for application in applications
        }
        return {application: future.result() for application, future in futures.items()}


def judge(application: str, report: Report, *reasons: str, least: int = 221) -> None:
    """Expect no failure, no warning, no job left, and only argued skips."""
    broken = [
        f"{result.id}: {result.observation}"
        for result in report.results
        if result.outcome in (Outcome.FAIL, Outcome.WARN)
    ]
    assert not broken, broken
    assert not report.undeleted and not report.stop_reason, (report.undeleted, report.stop_reason)
    skips = [f"{result.id}: {result.observation}" for result in report.results if result.outcome is Outcome.SKIP]
    allowed = (*REASONS[application], *reasons)
    unexpected = [skip for skip in skips if not any(re.search(reason, skip) for reason in allowed)]
    assert not unexpected, unexpected
    assert report.count(Outcome.PASS) >= least, report.count(Outcome.PASS)


def judge_ownership(report: Report, expected: Outcome) -> None:
    """Expect an outcome of the checks of ownership and challenges (U-161, A-004)."""
    outcomes = {result.id: result.outcome for result in report.results}
    assert outcomes["U-161.other-DELETE-job"] is expected and outcomes["A-004.challenge"] is expected, outcomes
