"""A request in the making, and the rules that all languages of submission share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from uws_service.domain.errors import UsageError

MAX_JOBS = 10_000
"""Most jobs that one file may stand for."""
BESIDE = "a file beside this one: it has to be in the image, or be sent as INPUT"
_UNITS = {"": 0, "b": 0, "k": 1, "kb": 1, "m": 2, "mb": 2, "g": 3, "gb": 3, "t": 4, "tb": 4}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]{0,2})", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_DATA_IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]+:[A-Za-z0-9_./-]+")
_MISSING_IMAGE = "IMAGE: the file names no container image; add it"
_NO_INPUT = "is neither an http(s) URL nor a data identifier; send it as a file part, INPUT=NAME,param:PART"


@dataclass(frozen=True, slots=True)
class Translation:
    """The requests of a file.

    ``requests`` holds a list of parameters for each job; ``remarks`` what could not be translated, with the reasons.
    """

    requests: tuple[tuple[tuple[str, str], ...], ...]
    remarks: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """A request in the making."""

    parameters: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    image: str = ""
    program: str = ""
    words: tuple[str, ...] = ()
    streams: set[str] = field(default_factory=set)

    def leave(self, name: str, value: str, reason: str) -> None:
        """Tell that a statement is not in the request."""
        shown = value if len(value) <= 60 else value[:59] + "…"
        self.remarks.append(f"{name} = {shown}: {reason}")

    def request(self, image: str) -> tuple[tuple[str, str], ...]:
        """Return all parameters, the command in the middle."""
        image = image or self.image
        if not image:
            self.remarks.append(_MISSING_IMAGE)
        head = [("IMAGE", image)] if image else []
        return (*head, *(("COMMAND", word) for word in (self.program, *self.words) if word), *self.parameters)


Rule = Callable[[Draft, str, str], None]


def job_count(words: str, place: str) -> int:
    """Return how many jobs a file asks for.

    Raises
    ------
    UsageError
        It is no number, or not between 1 and MAX_JOBS.
    """
    if not words.isdigit():
        raise UsageError(f"{place} {words[:40]!r}: only a number is translated; make a table of the values.")
    if not 0 < int(words[:9]) <= MAX_JOBS:
        raise UsageError(f"{place} {words[:40]}: 1 to {MAX_JOBS} jobs are translated.")
    return int(words)


def add_program(draft: Draft, name: str, value: str) -> None:
    """Set the program that runs."""
    draft.program = value
    if not value.startswith("/"):
        draft.leave(name, value, BESIDE)


def add_image(draft: Draft, name: str, value: str) -> None:
    """Set the image, if it is of a registry."""
    image = value.removeprefix("docker://")
    if image.endswith(".sif") or "://" in image or image.startswith("/"):
        draft.leave(name, value, "is no image of a registry")
    else:
        draft.image = image


def add_input(draft: Draft, name: str, item: str) -> None:
    """Add a URL or a data identifier."""
    if item.startswith(("http://", "https://")):
        draft.parameters.append(("INPUT", f"{PurePosixPath(item.partition('?')[0]).name or 'input'},{item}"))
    elif _DATA_IDENTIFIER.fullmatch(item) and not item.upper().startswith(("LFN:", "LF:")):
        draft.parameters.append(("DATASET", item))
    else:
        draft.leave(name, item, _NO_INPUT)


def add_stream(draft: Draft, name: str, value: str) -> None:
    """Tell where a standard stream goes."""
    draft.streams.add(value)
    draft.leave(name, value, "output and error are kept with the job, under names of the service")


def size_rule(parameter: str, default_unit: str) -> Rule:
    """Return the rule for a size, with a unit of its own or the default one."""

    def rule(draft: Draft, name: str, value: str) -> None:
        match = _SIZE.fullmatch(value)
        if match is None or match[2].lower() not in _UNITS:
            draft.leave(name, value, "is no size, but an expression")
            return
        power = _UNITS[(match[2] or default_unit).lower()]
        draft.parameters.append((parameter, f"{match[1]}{('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"))

    return rule


def number_rule(parameter: str) -> Rule:
    """Return the rule for a number."""

    def rule(draft: Draft, name: str, value: str) -> None:
        if _NUMBER.fullmatch(value):
            draft.parameters.append((parameter, value))
        else:
            draft.leave(name, value, "is no number, but an expression")

    return rule


def text_rule(parameter: str) -> Rule:
    """Return the rule for any text."""

    def rule(draft: Draft, name: str, value: str) -> None:
        draft.parameters.append((parameter, value.strip('"')))

    return rule
