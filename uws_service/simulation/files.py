"""Scenarios and traces from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from uws_service.domain.errors import ConfigurationError
from uws_service.simulation.jobs import DataSet, Load, draw_load, draw_sets_of
from uws_service.simulation.scenario import Scenario

PUBLISHED = ("many-small", "few-large", "bursts")
"""The loads that come with the service."""
MAX_TRACE_JOBS = 20_000_000


def read_scenario(name: str, changes: Mapping[str, Any] | None = None) -> Scenario:
    """Return the scenario of a file, or a published one by its name.

    ``changes`` are values in place of the file's, by their fields: ``arrivals.jobs``, ``data.0.popularity``.

    Raises
    ------
    ConfigurationError
        Names the file, the field, and what is wrong.
    """
    text, origin = _text(name)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{origin}{line}: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{origin}: must be a mapping with `sites`, and `arrivals` or a `trace`")
    for field, value in (changes or {}).items():
        _set(content, field, value, origin)
    if isinstance(content.get("trace"), str):
        content["trace"] = str(Path(origin).parent / content["trace"])
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_lines(error, origin))) from None


def _set(content: Any, field: str, value: Any, origin: str) -> None:
    """Set a value deep inside; parts that are not there are made."""
    *path, last = field.split(".")
    for part in path:
        if isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict):
            content = content.setdefault(part, {})
        else:
            content = None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{origin}: there is no {field} that could be set")
    content[last] = value


def read_load(scenario: Scenario) -> Load:
    """Return the jobs of a scenario: those of its trace, or of its distributions."""
    return read_trace(scenario) if scenario.trace is not None else draw_load(scenario)


def read_trace(scenario: Scenario) -> Load:
    """Return the jobs of a scenario's trace.

    It is a CSV file with a line of names, or one JSON object a line, with ``arrival`` and ``seconds`` in seconds,
    ``group``, ``owner`` and ``data``: identifiers with spaces between them, or a list of them. Identifiers are those of
    the scenario's data sets (``name:0``, ``name:1``, …).
    """
    path = Path(scenario.trace or "")
    sets = draw_sets_of(scenario)
    numbers = {item.identifier: number for number, item in enumerate(sets)}
    groups = [group.name for group in scenario.groups]
    jobs: list[Job] = []
    for line, record in _records(path):
        if len(jobs) >= MAX_TRACE_JOBS:
            raise ConfigurationError(f"{path}:{line}: a trace has {MAX_TRACE_JOBS:,} jobs at most")
        jobs.append(_job(f"{path}:{line}", record, numbers, groups))
    if not jobs:
        raise ConfigurationError(f"{path}: there are no jobs")
    return _load_of(sorted(jobs, key=lambda job: job[0]), sets, groups)


Job = tuple[float, float, int, str, tuple[int, ...]]
"""Arrival and length in seconds, number of the group, owner, numbers of the data sets."""


def _load_of(jobs: list[Job], sets: list[DataSet], groups: list[str]) -> Load:
    """Return jobs as columns."""
    owners: dict[tuple[int, str], int] = {}
    needs: dict[tuple[int, ...], int] = {}
    load = Load(sets, groups, [], [])
    mean = sum(job[1] for job in jobs) / len(jobs)
    for arrival, seconds, group, owner, need in jobs:
        load.arrival.append(arrival)
        load.seconds.append(seconds)
        load.expected.append(mean)
        load.owner.append(owners.setdefault((group, owner), len(owners)))
        load.need.append(needs.setdefault(need, len(needs)))
    load.owners.extend(group for group, _ in owners)
    load.needs.extend(needs)
    return load


def _job(place: str, record: Mapping[str, Any], numbers: Mapping[str, int], groups: list[str]) -> Job:
    """Return one job of a trace."""
    identifiers = record.get("data") or ()
    if isinstance(identifiers, str):
        identifiers = identifiers.split()
    if unknown := [name for name in identifiers if name not in numbers]:
        raise ConfigurationError(f"{place}: data: there is no data set {str(unknown[0])[:80]!r}")
    group = str(record.get("group") or groups[0])
    if group not in groups:
        raise ConfigurationError(f"{place}: group: there is no {group[:80]!r}; there are: {', '.join(groups)}")
    arrival, seconds = _number(place, record, "arrival", 0.0), _number(place, record, "seconds", 1e-3)
    return (
        arrival,
        seconds,
        groups.index(group),
        str(record.get("owner") or ""),
        tuple(sorted({numbers[name] for name in identifiers})),
    )


def _number(place: str, record: Mapping[str, Any], name: str, least: float) -> float:
    try:
        value = float(record[name])
    except KeyError:
        raise ConfigurationError(f"{place}: {name} is missing") from None
    except (TypeError, ValueError):
        value = -1.0
    if not least <= value < 1e12:
        raise ConfigurationError(f"{place}: {name}={str(record[name])[:32]!r} must be a number of seconds")
    return value


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the records of a trace with their lines."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                for record in reader:
                    yield reader.line_num, record
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _object(f"{path}:{number}", line)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: must be UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _object(place: str, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from None
    if not isinstance(record, dict):
        raise ConfigurationError(f"{place}: must be a JSON object")
    return record


def _text(name: str) -> tuple[str, str]:
    """Return the text of a scenario and where it is from."""
    if name in PUBLISHED:
        file = resources.files("uws_service.simulation") / "loads" / f"{name}.yaml"
        return file.read_text(encoding="utf-8"), str(file)
    try:
        return Path(name).read_text(encoding="utf-8"), name
    except FileNotFoundError:
        raise ConfigurationError(
            f"{name}: there is no such file, nor a published load; those are: {', '.join(PUBLISHED)}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: must be UTF-8: {error.reason} at byte {error.start}") from None


def _lines(error: ValidationError, origin: str) -> Iterator[str]:
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        yield f"{origin}: {field + ': ' if field else ''}{message}"
