"""The pytest plug-in: ``pytest --uws-url URL``.

The checks run as tests, beside those of the project. A broken MUST fails its test; another broken rule is an expected
failure (xfail), with ``--uws-strict`` a failure too. A check that could not be made and a feature that the server
refuses are skipped with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from uws_conformance import runner
from uws_conformance.bench import Bench
from uws_conformance.http import ANONYMOUS, Client, Identity, Limits
from uws_conformance.outcomes import Broken, Outcome, Result
from uws_conformance.profile import Profile, ProfileError, load
from uws_conformance.registry import Check, all_checks

NAME = "uws-conformance"


class Failure(Exception):
    """A broken rule, as the terminal shows it."""


class Target:
    """The server under test.

    It is contacted when the first check runs; its jobs are deleted at the end.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.url: str = config.getoption("uws_url")
        name: str = config.getoption("uws_profile")
        try:
            self.profile = load(name) if name else Profile(name="plain")
        except ProfileError as error:
            raise pytest.UsageError(f"--uws-profile: {error}") from error
        self.strict: bool = config.getoption("uws_strict")
        token = config.getoption("uws_token") or os.environ.get("UWS_CONFORMANCE_TOKEN", "")
        other_token = config.getoption("uws_token_other") or os.environ.get("UWS_CONFORMANCE_TOKEN_OTHER", "")
        identity = Identity("token", {"Authorization": f"Bearer {token}"}) if token else ANONYMOUS
        other_identity = Identity("other", {"Authorization": f"Bearer {other_token}"}) if other_token else None
        client = Client(Limits(config.getoption("uws_timeout")), identity)
        self.bench = Bench(self.url, self.profile, client, other_identity, config.getoption("uws_max_jobs"))
        self.unreachable_reason: str | None = None
        self.contacted = False

    def run(self, check: Check) -> Result:
        """Run a check.

        If the server cannot be reached, the first check fails and the others are skipped.
        """
        if self.unreachable_reason:
            pytest.skip(self.unreachable_reason)
        if not self.contacted:
            self.contacted = True
            try:
                runner.require_reachable(self.bench)
            except Broken as error:
                self.unreachable_reason = str(error)
                raise Failure(self.unreachable_reason) from None
        return runner.run_check(check, self.bench)

    def close(self) -> list[str]:
        """Delete the jobs and return those that are left."""
        undeleted = [] if self.unreachable_reason else self.bench.delete_jobs()
        self.bench.client.close()
        return undeleted


TARGET = pytest.StashKey[Target]()


class Item(pytest.Item):
    """A check as a test."""

    check: Check

    def runtest(self) -> None:
        target = self.config.stash[TARGET]
        result = target.run(self.check)
        text = f"{result.standard} §{result.section} ({result.level}): {result.requires}\nseen: {result.observation}"
        if result.outcome is Outcome.FAIL or (result.outcome is Outcome.WARN and target.strict):
            raise Failure(f"{text}\n{result.hint}".rstrip())
        if result.outcome is Outcome.WARN:
            pytest.xfail(f"{result.level}: {result.observation}")
        if result.outcome is not Outcome.PASS:
            pytest.skip(f"{result.outcome}: {result.observation}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, Failure):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[str, int | None, str]:
        return NAME, None, self.name


class Checks(pytest.Collector):
    """All checks of the profile's chapters."""

    def collect(self) -> Iterable[pytest.Item]:
        chapters = self.config.stash[TARGET].profile.chapters
        for check in all_checks():
            if check.standard in chapters:
                name = f"check[{check.id}]"
                item: Item = Item.from_parent(self, name=name, nodeid=f"{NAME}::{name}")
                item.check = check
                yield item


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options.

    Without ``--uws-url`` the plug-in does nothing.
    """
    group = parser.getgroup(NAME, "checks of a UWS server")
    group.addoption("--uws-url", default="", metavar="URL", help="the URL of the job list to check")
    group.addoption("--uws-profile", default="", metavar="NAME", help="the name of a shipped profile or a YAML file")
    group.addoption("--uws-token", default="", metavar="TOKEN", help="a bearer token ($UWS_CONFORMANCE_TOKEN)")
    group.addoption("--uws-token-other", default="", metavar="TOKEN", help="a bearer token of somebody else")
    group.addoption("--uws-strict", action="store_true", help="treat warnings as failures")
    group.addoption("--uws-timeout", type=float, default=30.0, metavar="S", help="timeout of a request in seconds")
    group.addoption("--uws-max-jobs", type=int, default=60, metavar="N", help="maximum number of jobs")


@pytest.hookimpl(tryfirst=True)  # before -k and -m select
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks to the tests."""
    if config.getoption("uws_url"):
        config.stash[TARGET] = Target(config)
        checks: Checks = Checks.from_parent(session, name=NAME, nodeid=NAME)
        items.extend(item for item in checks.collect() if isinstance(item, pytest.Item))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the jobs, also after Ctrl-C."""
    target = config.stash.get(TARGET, None)
    if target is not None:
        for url in target.close():
            print(f"{NAME}: could not be deleted: {url}")
