"""The pytest plug-in beside a project's own tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import MUTANTS, build
from reference import Reference
from reference_http import serve

from tests.server import free_port

pytest_plugins = ["pytester"]
PROFILE = "short: {MODE: short}\nparameter: {NOTE: x}\nsync: true\npatience: 2\npoll: 0.03\nwait: 1\n"
SELECTION = "U-02 or U-12 or U-160 or U-161"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Create a project with a test and a profile."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makepyfile(test_own="def test_own(): pass")
    (pytester.path / "mine.yaml").write_text(PROFILE)
    return pytester


def run(project: pytest.Pytester, url: str, *options: str) -> pytest.RunResult:
    plugin = ("-p", "uws_conformance.pytest_plugin", "-p", "no:cacheprovider", "-rsxf")
    return project.runpytest_subprocess(*plugin, "--uws-url", url, "--uws-profile", "mine.yaml", *options)


def test_checks_are_tests_and_jobs_are_deleted(project: pytest.Pytester) -> None:
    reference = Reference()
    with serve(reference) as url:
        result = run(
            project, url, "--uws-token", "alice", "--uws-token-other", "bob", "-k", f"own or {SELECTION}", "-v"
        )
    result.stdout.fnmatch_lines(
        ["*test_own.py::test_own PASSED*", "*uws-conformance::check[[]U-120.create-303] PASSED*"]
    )
    assert result.parseoutcomes()["passed"] > 40 and "failed" not in result.parseoutcomes()
    assert result.ret == 0
    assert reference.jobs == {}


def test_a_broken_must_fails_with_what_was_seen(project: pytest.Pytester) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "create-201")
    with serve(build(mutant)) as url:
        result = run(project, url, "--uws-token", "alice", "-k", "create-303")
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["UWS 1.1 §2.2.3.1 (MUST): A creating POST answers 303.", "seen: POST http*201"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(("options", "outcome"), [((), "xfailed"), (("--uws-strict",), "failed")])
def test_a_warning_is_an_expected_failure(project: pytest.Pytester, options: tuple[str, ...], outcome: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "cacheable")
    with serve(build(mutant)) as url:
        result = run(project, url, "--uws-token", "alice", "-k", "not-cached", *options)
    assert result.parseoutcomes()[outcome] == 1


def test_what_cannot_be_checked_is_skipped_with_the_reason(project: pytest.Pytester) -> None:
    with serve(Reference()) as url:
        result = run(project, url, "--uws-token", "alice", "-k", "abort-running or other-list")
    result.assert_outcomes(skipped=2, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["*skip: no second identity was given*"])


def test_a_host_that_is_down_fails_one_test(project: pytest.Pytester) -> None:
    result = run(project, f"http://127.0.0.1:{free_port()}/async", "-k", SELECTION)
    assert result.parseoutcomes()["failed"] == 1 and result.parseoutcomes()["skipped"] > 20
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_unknown_profile_is_reported(project: pytest.Pytester) -> None:
    result = run(project, "http://127.0.0.1:1/async", "--uws-profile", "nothing")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--uws-profile: no profile 'nothing'*"])


def test_nothing_happens_without_a_url(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-p", "uws_conformance.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
