"""An application as pure data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uws_service.applications.standard import PLAIN, Standard

Scalar = str | int | float | bool

PLACEHOLDER = re.compile(
    r"(?<!\$)\{(?:(INPUT|OUTPUT):)?((?<=OUTPUT:)[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z][A-Za-z0-9_]*)\}"
)
"""In a command: ``{NAME}`` a parameter's value, ``{INPUT:NAME}`` the path of a staged file or folder, ``{OUTPUT:ID}``
the path at which a result is expected."""
CONDITION = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\?([^{}]+)\}")
"""A whole word of a command, ``{NAME?WORD}``: WORD if the parameter has a value, of a boolean one if that is true."""
COMMAND_FOLDERS = ("UWS_INPUT_DIR", "UWS_OUTPUT_DIR", "UWS_PROGRESS_FILE")
"""Written ``${UWS_INPUT_DIR}`` in words of a command, they are replaced by paths."""
TRUE_WORDS = frozenset({"true", "t", "1"})
"""Values of a boolean parameter that are true, in lower case (DALI 1.1 §3.3.3)."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter, described as in VOTable and DALI.

    ``minimum`` and ``maximum`` bound each number of the value; ``file`` takes an uploaded file or an http(s) URL;
    ``dataset`` takes data identifiers, whose files have ``size`` bytes at most.
    """

    name: str
    datatype: str = "char"
    arraysize: str | None = None
    xtype: str | None = None
    unit: str | None = None
    ucd: str | None = None
    utype: str | None = None
    description: str = ""
    required: bool = False
    repeated: bool = False
    minimum: float | None = None
    maximum: float | None = None
    options: tuple[str, ...] = ()
    default: str | None = None
    file: bool = False
    dataset: bool = False
    endings: tuple[str, ...] = ()
    """Endings that its file may have, in lower case with the dot; the first one for a file without any of them."""
    secret: bool = False
    """Whether its values stay out of provenance and crates, which are passed on."""
    size: int = 100 * 1024**3


@dataclass(frozen=True, slots=True)
class UploadSpec:
    """Tables given with DALI's UPLOAD.

    At least ``minimum``, at most ``maximum``, each of at most ``size`` bytes.
    """

    minimum: int = 0
    maximum: int = 1
    size: int = 256 * 1024**2
    description: str = ""


@dataclass(frozen=True, slots=True)
class ResultSpec:
    """A result.

    ``formats`` are names that RESPONSEFORMAT may have, with media types, the first one by default.
    """

    id: str
    path: str
    media_type: str
    required: bool = True
    lake: str = ""
    """The scope in the data lake that it goes to; empty: it stays here."""
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MaxrecSpec:
    """Bounds of MAXREC."""

    default: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Resources:
    """The needs of a job.

    Cores, bytes, bytes, devices.
    """

    cpu: float = 1.0
    memory: int = 1024**3
    disk: int = 1024**3
    gpus: int = 0
    memory_retry: float = 1.0
    """How many times as much memory a try has after one that ran out of it; 1: it is not tried again."""
    memory_maximum: int = 0
    """The most memory of any try, in bytes."""

    def memory_after(self, memory: int) -> int:
        """Return the memory of the next try, after one for which so much was not enough; 0: there is none."""
        more = min(int(memory * self.memory_retry), self.memory_maximum)
        return more if more > memory else 0


@dataclass(frozen=True, slots=True)
class Bound:
    """A default and a maximum in seconds.

    0: none.
    """

    default: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job.

    In seconds, seconds, bytes of all results and logs, tries, seconds of a synchronous request.
    """

    execution_duration: Bound = Bound(3600, 86400)
    retention: Bound = Bound(7 * 86400, 30 * 86400)
    output: int = 1024**3
    attempts: int = 3
    sync_duration: int = 60


@dataclass(frozen=True, slots=True)
class Example:
    """A request that works."""

    name: str
    description: str
    parameters: Mapping[str, Scalar | tuple[Scalar, ...]]


@dataclass(frozen=True, slots=True)
class AccessSpec:
    """Who may use an application.

    Everybody, or verified callers in any of the groups and with all of the scopes.
    """

    anonymous: bool = False
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataTokenSpec:
    """A token for the command, in a file.

    The environment variable holds the file's name.
    """

    variable: str
    audience: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Application:
    """What a job runs."""

    name: str
    title: str
    description: str
    command: tuple[str, ...]
    image: str = ""
    version: str = ""
    """What a job's record says of the application; never empty once it is loaded."""
    parameters: tuple[ParameterSpec, ...] = ()
    uploads: UploadSpec | None = None
    resources: Resources = Resources()
    limits: Limits = Limits()
    results: tuple[ResultSpec, ...] = ()
    maxrec: MaxrecSpec | None = None
    examples: tuple[Example, ...] = ()
    bulk: int = 0
    """Rows that a table of jobs may have; 0: no tables."""
    refuses_unknown: bool = False
    """Whether parameters that nobody declared are an error."""
    archive: bool = False
    access: AccessSpec | None = None
    """None: as the settings say for all applications."""
    standard: Standard = PLAIN
    """The standard whose service this is."""
    section: Any = None
    """The standard's own section of the descriptor, as its `Standard.read_section` returned it."""
    data_token: DataTokenSpec | None = None
    """None: the command gets no token."""

    def result(self, result_id: str) -> ResultSpec | None:
        """Return the declared result that a result belongs to; one with a pattern has the ids of its files."""
        for spec in self.results:
            if spec.id == result_id:
                return spec
        for spec in self.results:
            if "*" in spec.path and fnmatch.fnmatchcase(result_id, spec.path.rpartition("/")[2]):
                return spec
        return None

    def parameter(self, name: str) -> ParameterSpec | None:
        """Return the parameter of a name (D-020).

        Its case does not matter.
        """
        folded = name.upper()
        return next((parameter for parameter in self.parameters if parameter.name.upper() == folded), None)
