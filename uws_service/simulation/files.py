"""Scenarios from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from uws_service.domain.errors import ConfigurationError
from uws_service.simulation.jobs import Load, draw_load
from uws_service.simulation.scenario import Scenario
from uws_service.simulation.traces import read_trace

PUBLISHED = ("many-small", "few-large", "bursts")
"""The loads that come with the service."""


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
    """Set a value deep inside.

    Parts that are not there are made.
    """
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


def read_load(scenario: Scenario) -> tuple[Scenario, Load]:
    """Return the jobs of a scenario: those of its trace, or of its distributions.

    A scenario without groups gets those of its trace.
    """
    return read_trace(scenario) if scenario.trace is not None else (scenario, draw_load(scenario))


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
