"""Server profiles in YAML.

A profile says how a server is asked for a short, a long and a failing job, and for an upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

Form = tuple[tuple[str, str], ...]
JOB_KINDS = ("short", "long", "failing", "upload")


class ProfileError(Exception):
    """An unusable profile; the text says what is allowed."""


@dataclass(frozen=True)
class Profile:
    """What the checks must know about a server.

    The checks of a kind of job that is missing are skipped.
    """

    name: str = "empty"
    short: Form | None = ()
    long: Form | None = None
    failing: Form | None = None
    upload: Form | None = None  # "{part}" in a value, here and above, stands for the part with our table
    parameter: tuple[str, str] = ("", "")  # may be set on a pending job
    soda: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # a data set and regions in it
    chapters: tuple[str, ...] = ("UWS 1.1", "DALI 1.1", "VOSI 1.1", "SSO 2.0", "Clients")
    base: str = ".."  # of capabilities, relative to the job list
    sync: bool = False
    patience: float = 60.0  # seconds for a short job to end or a long job to start
    poll: float = 0.25
    wait: int = 2  # seconds for the checks of WAIT

    def form(self, kind: str) -> Form | None:
        """Return the parameters of a kind of job."""
        value: Form | None = getattr(self, kind)
        return value


def shipped() -> list[str]:
    """Return the names of the shipped profiles."""
    folder = resources.files("uws_conformance") / "profiles"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(name_or_path: str) -> Profile:
    """Load a shipped profile by name, or a file."""
    if name_or_path in shipped():
        text = (resources.files("uws_conformance") / "profiles" / f"{name_or_path}.yaml").read_text()
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise ProfileError(f"no profile {name_or_path!r}: give a YAML file or one of {', '.join(shipped())}")
        text = path.read_text()
    try:
        return parse(yaml.safe_load(text) or {}, Path(name_or_path).stem)
    except yaml.YAMLError as error:
        raise ProfileError(f"{name_or_path} is not YAML: {error}") from error


def parse(data: object, name: str) -> Profile:
    """Build a profile from YAML data.

    Unknown keys and wrong types are errors.
    """
    if not isinstance(data, dict):
        raise ProfileError(f"{name}: a profile is a mapping, not {type(data).__name__}")
    allowed = {parameter.name for parameter in fields(Profile)}
    if unknown := sorted(set(map(str, data)) - allowed):
        raise ProfileError(f"{name}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    values: dict[str, Any] = {"name": name, **data}
    for kind in JOB_KINDS:
        if kind in values:
            values[kind] = pairs(values[kind], f"{name}: {kind}")
    if "parameter" in values:
        parameter = pairs(values["parameter"], f"{name}: parameter") or ()
        if len(parameter) != 1:
            raise ProfileError(f"{name}: parameter is one NAME: value")
        values["parameter"] = parameter[0]
    if "soda" in values:
        regions: dict[str, tuple[str, ...]] = {}
        for key, value in pairs(values["soda"], f"{name}: soda") or ():
            regions[key] = (*regions.get(key, ()), value)
        values["soda"] = regions
    if "chapters" in values:
        values["chapters"] = tuple(values["chapters"])
    for key in ("patience", "poll", "wait"):
        if key in values and not (isinstance(values[key], int | float) and values[key] > 0):
            raise ProfileError(f"{name}: {key} is a positive number of seconds, not {values[key]!r}")
    return Profile(**values)


def pairs(value: object, label: str) -> Form | None:
    """Convert a mapping of parameters to pairs.

    A list gives a parameter several times; null means that there is no such job.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProfileError(f"{label} is a mapping of parameters, not {value!r}")
    form: list[tuple[str, str]] = []
    for key, entry in value.items():
        form += [(str(key), str(item)) for item in (entry if isinstance(entry, list) else [entry])]
    return tuple(form)
