"""Jobs from a trace: a list in a file, or the service's own history."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from uws_service.domain.errors import ConfigurationError
from uws_service.simulation.jobs import Load, draw_sets_of
from uws_service.simulation.scenario import Group, Scenario

MAX_JOBS = 20_000_000


class Job(NamedTuple):
    """A job of a trace.

    ``data`` are the numbers of its data sets.
    """

    arrival: float
    seconds: float
    group: str
    owner: str
    data: tuple[int, ...]


def read_trace(scenario: Scenario) -> tuple[Scenario, Load]:
    """Return the jobs of a scenario's trace, and the scenario with the trace's groups if it names none itself.

    A trace is a CSV file with a line of names, or one JSON object a line, with ``arrival`` and ``seconds`` in seconds,
    ``group``, ``owner`` and ``data``: identifiers with spaces between them, or a list of them. Identifiers are those of
    the scenario's data sets (``name:0``, ``name:1``, …). What ``uws-service usage --records`` prints is a trace too:
    the first attempt of each job counts, from its creation, for the time that it ran.
    """
    path = Path(scenario.trace or "")
    sets = draw_sets_of(scenario)
    numbers = {item.identifier: number for number, item in enumerate(sets)}
    jobs: list[Job] = []
    for line, record in _records(path):
        if len(jobs) >= MAX_JOBS:
            raise ConfigurationError(f"{path}:{line}: a trace has {MAX_JOBS:,} jobs at most")
        job = _job(f"{path}:{line}", record, numbers)
        if job is not None:
            jobs.append(job)
    if not jobs:
        raise ConfigurationError(f"{path}: there are no jobs")
    if "groups" not in scenario.model_fields_set:
        names = sorted({job.group for job in jobs})
        scenario = scenario.model_copy(update={"groups": tuple(Group(name=name) for name in names)})
    groups = [group.name for group in scenario.groups]
    jobs = [job._replace(group=job.group or groups[0]) for job in jobs]
    if unknown := sorted({job.group for job in jobs} - set(groups)):
        raise ConfigurationError(f"{path}: group: there is no {unknown[0][:80]!r}; there are: {', '.join(groups)}")
    load = Load(sets, groups, [], [])
    _fill(load, sorted(jobs))
    return scenario, load


def _fill(load: Load, jobs: Sequence[Job]) -> None:
    """Add jobs as columns.

    Time begins with the first one.
    """
    owners: dict[tuple[str, str], int] = {}
    needs: dict[tuple[int, ...], int] = {}
    mean = sum(job.seconds for job in jobs) / len(jobs)
    for job in jobs:
        load.arrival.append(job.arrival - jobs[0].arrival)
        load.seconds.append(job.seconds)
        load.expected.append(mean)
        load.owner.append(owners.setdefault((job.group, job.owner), len(owners)))
        load.need.append(needs.setdefault(job.data, len(needs)))
    load.owners.extend(load.groups.index(group) for group, _ in owners)
    load.needs.extend(needs)


def _job(place: str, record: Mapping[str, Any], numbers: Mapping[str, int]) -> Job | None:
    """Return one job of a trace.

    None for what is no job of its own, such as a second attempt.
    """
    if "arrival" not in record and "created" in record:
        wall = record.get("wall")
        if str(record.get("number", 1)) != "1" or str(wall) in ("", "None", "0", "0.0"):
            return None
        record = {**record, "arrival": _instant(place, record["created"]), "seconds": wall}
    identifiers = record.get("data") or ()
    if isinstance(identifiers, str):
        identifiers = identifiers.split()
    if unknown := [name for name in identifiers if name not in numbers]:
        raise ConfigurationError(f"{place}: data: there is no data set {str(unknown[0])[:80]!r}")
    return Job(
        _number(place, record, "arrival", 0.0),
        _number(place, record, "seconds", 1e-3),
        str(record.get("group") or ""),
        str(record.get("owner") or ""),
        tuple(sorted({numbers[name] for name in identifiers})),
    )


def _instant(place: str, text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise ConfigurationError(f"{place}: created={str(text)[:40]!r} is no instant") from None


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
