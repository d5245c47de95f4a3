"""One descriptor: what is wrong with it, and what its author may have overlooked."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uws_service.applications import Application, Standard
from uws_service.applications.files import load_application
from uws_service.applications.model import CONDITION, PLACEHOLDER
from uws_service.domain.errors import ConfigurationError
from uws_service.sites.local.search_path import search_paths

PROGRAMS = "bin"
"""The folder beside a descriptor whose programs stand for those that its image, or its site, has on the ``PATH``."""
_OTHER_STANDARD = re.compile(r"^\s*['\"]?(protocol|catalogue|images|maximum)\b", re.MULTILINE)
_SCRIPT_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found.

    ``problems`` are ``file:line: field: what; what is allowed``; ``remarks`` keep no service from its start.
    """

    file: Path
    application: Application | None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def check_descriptor(file: Path, folders: tuple[Path, ...] = ()) -> Verdict:
    """Check a descriptor as a service does at its start.

    ``folders`` are places of programs, beside those that a local site looks into.
    """
    try:
        application = load_application(file, _standards(file))
    except ConfigurationError as error:
        return Verdict(file, None, tuple(error.message.split("\n")))
    return Verdict(file, application, (), tuple(_remarks(application, file.parent, folders)))


def load(file: Path) -> Application:
    """Return the application of a descriptor, or raise `ConfigurationError`."""
    return load_application(file, _standards(file))


def program_folders(file: Path, folders: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """Return the folders in which a trial looks for commands first."""
    beside = file.absolute().parent / PROGRAMS
    return (*((beside,) if beside.is_dir() else ()), *(folder.absolute() for folder in folders))


def _standards(file: Path) -> Mapping[str, Standard]:
    """Return what ``protocol`` may be; nothing, which is quicker, for a descriptor that has none."""
    try:
        if not _OTHER_STANDARD.search(file.read_text(encoding="utf-8")):
            return {}
    except (OSError, UnicodeDecodeError):
        return {}  # the loader says what is wrong
    from uws_service.web.faces.registry import STANDARDS

    return STANDARDS


def _remarks(application: Application, folder: Path, folders: tuple[Path, ...]) -> Iterator[str]:
    if application.standard.template:
        return  # the standard brings the command
    path = search_paths(sys.executable, program_folders(folder / "x", folders))["PATH"]
    word = application.command[0]
    program = None if "{" in word else shutil.which(word, path=path)
    if "/" in word and not word.startswith("/"):
        yield f"the command {word!r} is looked for in the job's folder; write an absolute path"
    elif program is None and "{" not in word and not application.image:
        yield f"there is no command {word!r} in {path}; elsewhere it needs an absolute path, or an image has it"
    yield from _unused(application, _script(program, folder))
    if application.image and re.search(r":latest$|^[^:@]+$", application.image.rpartition("/")[2]):
        yield f"the image {application.image!r} has no fixed tag: jobs of another day may run another program"


def _unused(application: Application, script: str) -> Iterator[str]:
    """Yield parameters and results that the command does not name, so far as one can see."""
    text = "\n".join([*application.command, script])
    names = {name.upper() for word in application.command for _, name in PLACEHOLDER.findall(word)}
    names |= {match[1].upper() for word in application.command if (match := CONDITION.fullmatch(word))}
    reads_all = "parameters.json" in text
    for spec in application.parameters:
        variable, file = f"UWS_PARAM_{spec.name.upper()}", f"files/{spec.name}"
        if spec.name.upper() not in names and not reads_all and variable not in text and file not in text:
            place = f"$UWS_INPUT_DIR/{file}" if spec.file else f"${variable}"
            yield f"nothing uses the parameter {spec.name}, so far as one can see: the command has it at {place} alone"


def _script(program: str | None, folder: Path) -> str:
    """Return the text of an author's own script; empty if the program is not below the descriptor's folder."""
    if program is None:
        return ""
    path = Path(program).resolve()
    if not path.is_relative_to(folder.resolve()) or path.stat().st_size > _SCRIPT_MAX_BYTES:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")
