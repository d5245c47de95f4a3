"""Golden-file tests of an application: folders with a request, and with what must come of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uws_service.applications import Application
from uws_service.applications.files import load_document
from uws_service.domain.errors import ConfigurationError, UsageError
from uws_service.kit.comparison import Rules, Tolerance, differences
from uws_service.kit.trial import Request, Trial, request_of, run_trial

CASE = "case.yaml"
SCHEMA = "case.schema.json"


@dataclass(frozen=True, slots=True)
class Case:
    """One test: what is sent, and what must come of it.

    ``results`` are the expected files by result id; ``error`` is empty if the job must end well.
    """

    name: str
    folder: Path
    request: Request
    results: Mapping[str, Path]
    error: str
    rules: Rules


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case; without ``problems`` it has passed."""

    name: str
    problems: tuple[str, ...]
    seconds: float
    updated: tuple[Path, ...] = ()


def find_cases(folder: Path, application: Application) -> list[Case]:
    """Return the cases below a folder, by name.

    Raises
    ------
    ConfigurationError
        There is none, or one is wrong: file, line, field and what is allowed.
    """
    files = sorted(folder.glob(f"*/{CASE}"))
    if not files:
        raise ConfigurationError(f"{folder}: there is no case; a case is a folder with a file {CASE}")
    return [_read(file, application) for file in files]


def _read(file: Path, application: Application) -> Case:
    content = load_document(file, SCHEMA)
    folder = file.parent
    words = [
        (name, _text(value))
        for name, values in content.get("parameters", {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]
    request = request_of(application, words, folder)
    tables = {name: folder / path for name, path in content.get("uploads", {}).items()}
    results = {name: folder / path for name, path in content.get("results", {}).items()}
    for path in [*(request.files or {}).values(), *tables.values()]:
        if not path.is_file():
            raise ConfigurationError(f"{file}: there is no file {path}")
    if results and "error" in content:
        raise ConfigurationError(f"{file}: a case that must end in an error has no results")
    for name in results:
        if application.result(name) is None:
            ids = ", ".join(result.id for result in application.results)
            raise ConfigurationError(f"{file}: results: {name!r} is no result; results: {ids}")
    rules = Rules(
        _tolerance(content.get("tolerance", {})),
        {name: _tolerance(value) for name, value in content.get("columns", {}).items()},
        frozenset(content.get("ignore", ())),
        content.get("pixels", 0.02),
    )
    request = Request(request.values, request.files, tables)
    return Case(folder.name, folder, request, results, content.get("error", ""), rules)


def _tolerance(raw: Mapping[str, float]) -> Tolerance:
    return Tolerance(**raw)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_cases(
    application: Application, cases: list[Case], *, folders: tuple[Path, ...] = (), update: bool = False
) -> Iterator[Outcome]:
    """Run cases one after the other, and yield what came of each.

    With ``update`` the expected files become what the command has made now.
    """
    for case in cases:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="uws-case-", ignore_cleanup_errors=True) as place:
            output = Path(place) / "results"
            output.mkdir()
            updated: tuple[Path, ...] = ()
            try:
                trial = run_trial(application, case.request, Path(place) / "work", output, folders=folders)
            except UsageError as error:
                problems = _judge_error(case, error.message, "")
            else:
                problems = _judge(case, trial, compare=not update)
                if update and not problems:
                    updated = _update(case, trial)
        yield Outcome(case.name, tuple(problems), time.monotonic() - began, updated)


def _judge(case: Case, trial: Trial, *, compare: bool) -> list[str]:
    """Return what is not as the case wants it."""
    if trial.error or case.error:
        return _judge_error(case, trial.error, trial.stderr)
    problems: list[str] = []
    results = {result.id: result for result in trial.results}
    for name, expected in case.results.items():
        if name not in results:
            problems.append(f"{name}: there is no such result; results: {', '.join(results) or 'none'}")
        elif compare and not expected.is_file():
            problems.append(f"{name}: there is no file {expected}; `--update` makes it of the result")
        elif compare:
            result = results[name]
            changes = differences(result.path, expected, result.media_type, case.rules)
            problems += [f"{name}: {problem}" for problem in changes]
    return problems


def _judge_error(case: Case, error: str, stderr: str) -> list[str]:
    if case.error and not error:
        return [f"ended well instead of with the error {case.error!r}"]
    if case.error:
        return [] if case.error in f"{error}\n{stderr}" else [f"ended with another error: {error}"]
    return [error]


def _update(case: Case, trial: Trial) -> tuple[Path, ...]:
    """Replace the expected files by the results."""
    results = {result.id: result.path for result in trial.results}
    for name, expected in case.results.items():
        expected.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results[name], expected)
    return tuple(case.results.values())
