"""Attempts of jobs at sites, as pure data.

A job has attempts 1, 2, …; at its site each of them is a single process group, or a single Kubernetes Job.
Instants are milliseconds since the epoch, sizes bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from uws_service.domain.dataset import DataParameter
from uws_service.domain.price import Hold
from uws_service.domain.record import StagedFile

AWAITS_DATA = 2**61
"""An attempt whose ``not_before`` is this waits for its data sets to be looked up."""


class AttemptState(StrEnum):
    """The recorded state of an attempt."""

    WAITING = "WAITING"  # not yet handed to its site
    SUBMITTED = "SUBMITTED"  # handed to its site, the command has not started
    RUNNING = "RUNNING"  # the command runs
    CLOSED = "CLOSED"  # ended, its outcome is recorded, nothing of it is left at the site


class Reason(StrEnum):
    """Why an attempt failed, as error documents and metrics show it."""

    USAGE = "Usage"  # the parameters are not valid
    NO_SITE = "NoSite"  # no site takes such a job
    EXIT_CODE = "ExitCode"  # the user's command ended with a code other than 0
    OUT_OF_MEMORY = "OutOfMemory"  # more memory than the application may have
    OUTPUT_TOO_LARGE = "OutputTooLarge"  # more output than the application may write
    TOO_MANY_PROCESSES = "TooManyProcesses"  # more processes at once than the site allows
    DEADLINE = "Deadline"  # executionDuration exceeded
    STAGE_IN = "StageIn"  # an input could not be fetched
    DATA = "Data"  # a data set is unknown, forbidden or has no replica
    STAGE_OUT = "StageOut"  # a result is missing or could not be stored
    COMMAND = "Command"  # the command could not be started at all
    IMAGE = "Image"  # the container image can't be had
    REFUSED = "Refused"  # the site does not take such a job
    UNSCHEDULABLE = "Unschedulable"  # no place was found for it in the time that the site allows
    AGENT_LOST = "AgentLost"  # what looked after the command is gone
    EVICTED = "Evicted"  # put out by its machine or its site
    NODE_LOST = "NodeLost"  # the machine that it ran on is gone
    DELETED = "Deleted"  # removed at its site by somebody else
    SITE_LOST = "SiteLost"  # its site could not be reached for too long
    UNAVAILABLE = "Unavailable"  # the command says that something it needs can't be had now
    APPLICATION = "Application"  # the command says what went wrong
    ABORTED = "Aborted"  # stopped because somebody asked for it


RETRYABLE = frozenset({Reason.AGENT_LOST, Reason.EVICTED, Reason.NODE_LOST, Reason.DELETED, Reason.SITE_LOST})
"""Faults of the infrastructure; another attempt may succeed. The user's own failures are never tried again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one attempt used: seconds, bytes."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_memory: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_moved: int = 0  # of the data sets among bytes_in, fetched from other places than its site's storage areas


@dataclass(frozen=True, slots=True)
class CommandError:
    """What a command says went wrong, in ``error.json`` of its output folder."""

    type: str  # a word of DALI 1.1 §4.2: UsageError, MultiValuedParamNotSupported, ServiceUnavailable, Error
    message: str
    detail: str = ""

    @property
    def reason(self) -> Reason:
        """Return the reason for which the attempt has failed then."""
        if self.type in ("UsageError", "MultiValuedParamNotSupported"):
            return Reason.USAGE
        return Reason.UNAVAILABLE if self.type == "ServiceUnavailable" else Reason.APPLICATION


@dataclass(frozen=True, slots=True)
class Output:
    """A collected file: a result or a log.

    ``source`` is where the site has it.
    """

    id: str
    source: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended, from the agent that ran it; nobody else at its site knows."""

    ended: int
    started: int | None = None  # None: it never was
    exit_code: int | None = None
    logs: tuple[Output, ...] = ()
    tail: str = ""  # the end of what the command said
    warning: str = ""
    error: CommandError | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The report of an agent that hands over files itself, at the end of its attempt.

    It lists the results, or says why there are none.

    ``settled`` names the outputs that were complete well before the end: they can be kept when it was an abort.
    """

    outputs: tuple[Output, ...] = ()
    settled: tuple[str, ...] = ()
    reason: Reason | None = None
    message: str = ""
    bytes_in: int = 0
    cpu: float = 0.0  # both are kept in the attempt's usage
    peak_memory: int = 0
    inputs: tuple[StagedFile, ...] = ()
    bytes_moved: int = 0
    end: CommandEnd | None = None  # from an agent that ran the command itself


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt; unless it is ``wanted``, nothing of it may stay at the site.

    One of the network (``network``) waits for any site; ``site`` is empty until a site takes it.
    """

    job_id: str
    number: int
    site: str
    application: str
    owner: str  # "" for anonymous
    group: str = ""
    wanted: bool = True
    state: AttemptState = AttemptState.WAITING
    created: int = 0
    submitted: int | None = None
    started: int | None = None
    ended: int | None = None
    not_before: int = 0  # a retry waits until then
    exit_code: int | None = None
    reason: str | None = None
    message: str = ""
    cpu_requested: float = 0.0  # cores
    memory_requested: int = 0  # bytes
    gpus: int = 0
    bytes_moved: int = 0  # of its data sets, from other places to its site
    owner_slots: int | None = None  # how many attempts of its owner may run at once; None: any number
    usage: Usage = field(default_factory=Usage)
    claimed: str = ""  # which pod's agent speaks for it; the last one to claim it
    alive_until: int = 0  # before this instant its agent is to be heard again, if it runs the command itself
    report: Report | None = None  # what that agent said at its end
    handle: str = ""  # the site's own id of it, such as the uid of a Kubernetes Job
    launch: Launch | None = None  # what it runs; set where the attempt is made, afterwards read by `Attempts.launch`
    network: bool = False
    lot: str = ""  # attempts of one lot wait for the same sites and have the same turn; see `LotKey`
    wish: str = ""  # what it needs of a site, as JSON; set where the attempt is made, afterwards read by `Queue.wish`
    size_class: str = ""  # jobs of one class wait alike
    holds: tuple[Hold, ...] = ()  # what is held in budgets for its job; set where the job is started

    def __post_init__(self) -> None:
        if not self.lot:
            object.__setattr__(self, "lot", LotKey("", self.group, self.owner, 0).text)


class LotKey(NamedTuple):
    """What waiting attempts have in common that are taken in the order of their age."""

    kind: str  # jobs of one kind cost the same at every site, and meet the same objections
    group: str
    owner: str
    priority: int

    @property
    def text(self) -> str:
        """Return it as it is stored."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    @lru_cache(maxsize=50_000)
    def parse(text: str) -> LotKey:
        """Read what `text` gave."""
        return LotKey(*json.loads(text))


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a site has a file that it need not fetch."""

    volume: str
    """The name of the pod's volume; the folder of the storage area at a site without pods."""
    path: str
    """Its path below that."""
    area: str = ""
    """The storage area."""


@dataclass(frozen=True, slots=True)
class Input:
    """A file to stage in: from the depot (``depot_key``), the network (``url``), or the site (``mount``).

    ``path`` is where it lies, relative to ``UWS_INPUT_DIR``; ``max_size`` in bytes.
    """

    name: str
    path: str
    depot_key: str | None = None
    url: str | None = None
    max_size: int = 0
    size: int | None = None  # bytes, where they are known
    checksums: Mapping[str, str] = field(default_factory=dict)  # hexadecimal, by md5, adler32, sha256
    urls: tuple[str, ...] = ()  # further places that have the same file
    mount: Mount | None = None


@dataclass(frozen=True, slots=True)
class ExpectedResult:
    """A file to stage out of ``UWS_OUTPUT_DIR``.

    ``path`` may hold ``*``; ids are the file names then.
    """

    id: str
    path: str
    media_type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a site needs to run one attempt."""

    job_id: str
    number: int
    application: str
    owner: str
    command: tuple[str, ...]
    image: str
    environment: Mapping[str, str]
    parameters: str  # the JSON text of parameters.json in UWS_INPUT_DIR
    inputs: tuple[Input, ...]
    results: tuple[ExpectedResult, ...]
    duration: int  # seconds, 0: no limit; the agent's safety net, the controller enforces it
    cpu: float
    memory: int  # bytes
    max_output: int  # bytes, all results and logs together
    disk: int = 0  # bytes of working files; 0: as many as max_output
    gpus: int = 0
    group: str = ""  # of the owner, whose share it counts to
    passed: tuple[str, ...] = ()  # environment variables, such as URLs with passwords, that each site has of its own
    token_variable: str = ""  # the environment variable with the name of the file with a data token; "": there is none
    data: tuple[DataParameter, ...] = ()  # its data sets; `data.replicas.bind` makes inputs of them at a site
    needs_image: bool = False  # whether the command exists in its image alone
    sites: tuple[str, ...] = ()  # where it may run; empty: at any site
    site_kind: str = ""  # the kind of site that it must run at; "": any
    mounts: tuple[str, ...] = ()  # paths at which the command finds the input folder too
    away: tuple[str, ...] = ()  # paths of inputs that are in no storage area of its site; set by `data.replicas.bind`


class Seen(StrEnum):
    """The observed state of an attempt."""

    STARTING = "STARTING"  # accepted by the site; waiting for a place, or staging in
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"  # put back by the site; it will start it again
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Observation:
    """An attempt as its site shows it now."""

    job_id: str
    number: int
    seen: Seen
    started: int | None = None
    ended: int | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    message: str = ""
    progress: float | None = None  # 0..1
    progress_text: str = ""
    outputs: tuple[Output, ...] = ()
    log_tail: str = ""
    usage: Usage = field(default_factory=Usage)
    waiting: str = ""  # why it has not started, in words for its owner
    place: int | None = None  # how many are before it in the site's own queue
    warning: str = ""  # what its owner should know although it ended well
    reports: bool = False  # its agent hands the results over itself: they are in `Attempt.report`
    gone: bool = False  # nothing of it runs any more, its agent included
    handle: str = ""  # the site's own id of it
    error: CommandError | None = None  # what the command itself says went wrong
    image: str = ""  # the image that it really runs in, with its digest
    pulled: str = ""  # the same as a registry names it, if it came from one
    inputs: tuple[StagedFile, ...] = ()  # what its agent fetched
