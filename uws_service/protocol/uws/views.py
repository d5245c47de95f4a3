"""What documents show of jobs, whatever their form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import quote as url_quote

from uws_service.domain.job import Job, Parameter, Phase
from uws_service.domain.jobinfo import LostAttempt
from uws_service.domain.placement import Candidate
from uws_service.protocol.uws.values import XML_ILLEGAL

STREAMS = ("stdout", "stderr")


class JobRefLike(Protocol):
    """What a list shows of a job."""

    @property
    def id(self) -> str: ...
    @property
    def phase(self) -> Phase: ...
    @property
    def run_id(self) -> str | None: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def created(self) -> int: ...


class JobUrls(NamedTuple):
    """Absolute URLs of one application's jobs.

    ``jobs`` is the job list without a slash at the end.
    """

    jobs: str

    def job(self, job_id: str) -> str:
        """Return the URL of a job."""
        return f"{self.jobs}/{job_id}"

    def result(self, job_id: str, result_id: str) -> str:
        """Return the URL of a result (D-041, C-10)."""
        return f"{self.jobs}/{job_id}/results/{url_quote(result_id, safe='', errors='replace')}"

    def parameter(self, job_id: str, name: str, number: int = 1) -> str:
        """Return the URL of a parameter given by reference (U-038).

        ``number`` counts the values of one name.
        """
        query = f"?value={number}" if number > 1 else ""
        return f"{self.jobs}/{job_id}/parameters/{url_quote(name, safe='', errors='replace')}{query}"

    def log(self, job_id: str, name: str) -> str:
        """Return the URL of what the job's command printed."""
        return f"{self.jobs}/{job_id}/logs/{name}"


@dataclass(frozen=True, slots=True)
class JobInfoView:
    """The content of jobInfo.

    Among it progress from 0 to 1, why the job waits and how many are ahead, its site, its logs.
    """

    progress: float | None = None
    message: str = ""
    waiting: str = ""
    ahead: int | None = None
    site: str = ""
    site_reason: str = ""
    data: str = ""
    """How its data came to its site."""
    share: str = ""
    """Whether its group is below, at or above its share."""
    placement: tuple[Candidate, ...] = ()
    """What spoke for each site and against it, the chosen one first; in JSON and on the page alone."""
    attempt: int | None = None
    row: int | None = None
    lost: tuple[LostAttempt, ...] = ()
    logs: tuple[tuple[str, str, int | None], ...] = ()
    """Name, URL, size in bytes if it is final."""
    notices: tuple[str, ...] = ()
    """What may be wrong with the request, such as parameters that nobody declared."""
    defaults: tuple[tuple[str, str], ...] = ()
    """Names and values of the parameters that the service chose: defaults, limits."""
    versions: tuple[tuple[str, str], ...] = ()
    """Versions of service, application and image."""
    estimate: tuple[tuple[str, str], ...] = ()
    """What the job costs at most: `price` in `currency`, `wh`, `gco2e`."""

    @staticmethod
    def of(job: Job, urls: JobUrls) -> JobInfoView:
        """Return what a job's notes say."""
        info = job.info
        logs: list[tuple[str, str, int | None]] = [(log.id, urls.log(job.id, log.id), log.size) for log in info.logs]
        if not logs and job.phase is Phase.EXECUTING:
            streams = STREAMS if info.streams is None else info.streams
            logs = [(name, urls.log(job.id, name), None) for name in streams]
        return JobInfoView(
            progress=info.progress,
            message=info.message,
            waiting=info.waiting,
            ahead=info.ahead if info.place is None else info.place,
            site=info.site,
            site_reason=info.site_reason,
            data=info.data,
            share=info.share,
            placement=info.placement,
            attempt=info.attempt,
            row=info.row,
            lost=info.lost_attempts,
            logs=tuple(logs),
            notices=info.notices,
            defaults=tuple(info.defaults.items()),
            versions=tuple(info.versions.items()),
            estimate=tuple(info.estimate.items()),
        )


def is_reference(parameter: Parameter) -> bool:
    """Return whether a parameter is shown by reference (U-080).

    That is a file, or a value that XML can't hold.
    """
    return parameter.upload is not None or XML_ILLEGAL.search(parameter.value) is not None


def numbered(parameters: Iterable[Parameter]) -> Iterator[tuple[Parameter, int]]:
    """Return each value with its number among those of its name.

    Numbers begin at 1; the case of names does not matter (D-020).
    """
    counts: dict[str, int] = {}
    for parameter in parameters:
        key = parameter.name.upper()
        counts[key] = counts.get(key, 0) + 1
        yield parameter, counts[key]
