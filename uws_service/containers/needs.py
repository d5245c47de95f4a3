"""What a job of a container application asks for, from its parameters. Pure."""

from __future__ import annotations

import mimetypes
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from uws_service.applications.model import Resources
from uws_service.containers.references import Reference, parse_reference
from uws_service.domain.attempt import ExpectedResult
from uws_service.domain.errors import UsageError
from uws_service.units import parse_size

MAX_WORDS_BYTES = 512 * 1024
"""Of all words of a command; an object of a cluster must stay below 1.5 MB."""
MAX_ENVIRONMENT_BYTES = 128 * 1024
MAX_VALUE_BYTES = 64 * 1024
MAX_OUTPUTS = 50
MIN_MEMORY_BYTES = 4 * 2**20
OWN_VARIABLES = ("UWS_", "LD_", "GLIBC_", "KUBERNETES_")
"""Beginnings of names that the service, the loader of programs and the cluster give a meaning."""
FIXED_FOLDERS = ("uws", "tmp", "proc", "sys", "dev", "etc", "var/run", "run")
"""Where nothing may be mounted."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Values = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Maximum:
    """The most that one job may ask for.

    Cores, bytes, bytes, devices; and bytes of one input.
    """

    cpu: float = 4.0
    memory: int = 16 * 1024**3
    disk: int = 50 * 1024**3
    gpus: int = 0
    input: int = 5 * 1024**3


@dataclass(frozen=True, slots=True)
class Needs:
    """The wishes of one job, checked."""

    image: Reference
    environment: Mapping[str, str]
    outputs: tuple[ExpectedResult, ...]
    resources: Resources
    site_kind: str = ""
    mounts: tuple[str, ...] = ()


def needs_of(values: Values, default: Resources, maximum: Maximum) -> Needs:
    """Return what a job needs.

    Parameters
    ----------
    values
        The job's parameters.
    default
        What a job gets that does not say.

    Raises
    ------
    UsageError
        Names the parameter, what is wrong with it and what is allowed.
    """
    _check_words(values.get("COMMAND", ()))
    return Needs(
        image=parse_reference(_single(values, "IMAGE")),
        environment=_environment(values.get("ENV", ())),
        outputs=_outputs(values.get("OUTPUT", ())),
        resources=Resources(
            cpu=_number(values, "CPU", default.cpu, maximum.cpu, "cores"),
            memory=_size(values, "MEMORY", default.memory, maximum.memory, MIN_MEMORY_BYTES),
            disk=_size(values, "DISK", default.disk, maximum.disk, 0),
            gpus=int(_number(values, "GPUS", default.gpus, maximum.gpus, "GPUs")),
        ),
        site_kind=_single(values, "SITE_KIND"),
        mounts=_mounts(values.get("INPUT_MOUNT", ())),
    )


def _single(values: Values, name: str) -> str:
    return next(iter(values.get(name, ())), "")


def _check_words(words: Sequence[str]) -> None:
    size = sum(len(word.encode(errors="replace")) + 1 for word in words)
    if size > MAX_WORDS_BYTES:
        raise UsageError(f"COMMAND has {size} bytes; at most {MAX_WORDS_BYTES} are taken. Send a script as INPUT.")
    for word in words:
        if "\0" in word or not _is_text(word):
            raise UsageError(f"COMMAND: the word {word[:40]!r} has a character that no argument can hold.")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _environment(pairs: Iterable[str]) -> dict[str, str]:
    """Return the variables of ``NAME=value`` pairs."""
    variables: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise UsageError(f"ENV={pair[:80]!r} must be NAME=value, the name of letters, digits and '_'.")
        if name.upper().startswith(OWN_VARIABLES):
            raise UsageError(
                f"ENV: {name} is not for jobs to set; names that begin with {', '.join(OWN_VARIABLES)} are not."
            )
        if name in variables:
            raise UsageError(f"ENV sets {name} twice.")
        if "\0" in value or not _is_text(value) or len(value.encode()) > MAX_VALUE_BYTES:
            raise UsageError(f"ENV: the value of {name} must be text of at most {MAX_VALUE_BYTES} bytes without NUL.")
        variables[name] = value
    size = sum(len(name) + len(value.encode()) + 2 for name, value in variables.items())
    if size > MAX_ENVIRONMENT_BYTES:
        raise UsageError(f"ENV has {size} bytes; at most {MAX_ENVIRONMENT_BYTES} are taken. Send a file as INPUT.")
    return variables


def _outputs(patterns: Sequence[str]) -> tuple[ExpectedResult, ...]:
    """Return the results of patterns.

    Without any, all files of the output folder itself.
    """
    if not patterns:
        return (ExpectedResult("output", "*", "application/octet-stream", required=False),)
    if len(patterns) > MAX_OUTPUTS:
        raise UsageError(f"OUTPUT is there {len(patterns)} times; at most {MAX_OUTPUTS} are taken.")
    results: dict[str, ExpectedResult] = {}
    for pattern in patterns:
        parts = pattern.split("/")
        if pattern.startswith("/") or ".." in parts or "" in parts or "**" in pattern or _CONTROL.search(pattern):
            raise UsageError(
                f"OUTPUT={pattern[:80]!r} must be a path below the output folder; * stands for any part of a name."
            )
        if len(pattern.encode(errors="replace")) > 1000 or not _is_text(pattern):
            raise UsageError(f"OUTPUT={pattern[:80]!r} must be text of at most 1000 bytes.")
        media_type = mimetypes.guess_type(parts[-1])[0] or "application/octet-stream"
        name = _UNSAFE.sub("_", parts[-1])[:120]
        results[pattern] = ExpectedResult(name if name.strip(".") else "output", pattern, media_type)
    return tuple(results.values())


def _number(values: Values, name: str, default: float, maximum: float, unit: str) -> float:
    text = _single(values, name)
    number = float(text) if text else default
    if not 0 <= number <= maximum or (number == 0 and name == "CPU"):  # false for NaN too
        raise UsageError(f"{name}={text[:40]} is not allowed; a job may have at most {maximum:g} {unit}.")
    return number


def _size(values: Values, name: str, default: int, maximum: int, minimum: int) -> int:
    text = _single(values, name)
    try:
        size = parse_size(text) if text else default
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name}={text[:40]!r} is no size; write a number and a unit, such as 512MiB or 4GB."
        ) from None
    if not minimum <= size <= maximum:
        bounds = f"at least {minimum} and at most {maximum} bytes" if minimum else f"at most {maximum} bytes"
        raise UsageError(f"{name}={text[:40]!r} is {size} bytes; a job may have {bounds}.")
    return size


def _mounts(paths: Sequence[str]) -> tuple[str, ...]:
    for path in paths:
        fixed = any(path == f"/{folder}" or path.startswith(f"/{folder}/") for folder in FIXED_FOLDERS)
        normal = path.startswith("/") and posixpath.normpath(path) == path and not path.startswith("//")
        if fixed or not normal or path == "/" or len(path) > 200 or _CONTROL.search(path) or ":" in path:
            raise UsageError(
                f"INPUT_MOUNT={path[:80]!r} must be an absolute path without '.' and '..', outside of "
                f"{', '.join(f'/{folder}' for folder in FIXED_FOLDERS)}."
            )
    return tuple(paths)
