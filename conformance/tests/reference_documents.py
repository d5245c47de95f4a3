"""The documents of the reference server, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

ROOT = (
    'xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    """An outgoing response."""

    status: int
    body: str = ""
    type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A job."""

    id: str
    owner: str
    created: datetime
    destruction: datetime
    phase: str = "PENDING"
    duration: int = 3600
    started: datetime | None = None
    ended: datetime | None = None
    run_id: str | None = None
    parameters: Pairs = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Request:
    """An incoming request."""

    method: str
    path: str
    query: Pairs
    form: Pairs
    caller: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    readable: bool = True
    chunked: bool = False

    def query_value(self, name: str) -> str | None:
        """Return a query parameter by its name in any case."""
        return next((value for key, value in self.query if key.upper() == name), None)


def format_instant(instant: datetime | None) -> str:
    """Format an instant as UWS does."""
    return "" if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_instant(value: str) -> datetime:
    """Parse an instant sent by a client."""
    return datetime.fromisoformat(value.replace("Z", "+00:00").replace("Z", "")).replace(tzinfo=UTC)


class Documents:
    """The XML documents; mutants replace its methods."""

    url = ""

    def list_document(self, jobs: list[Job]) -> str:
        refs = "".join(
            f'<uws:jobref id="{job.id}" xlink:href="{self.url}/async/{job.id}"><uws:phase>{job.phase}</uws:phase>'
            f"<uws:ownerId>{job.owner}</uws:ownerId><uws:creationTime>{format_instant(job.created)}"
            "</uws:creationTime></uws:jobref>"
            for job in jobs
        )
        return f'<uws:jobs {ROOT} version="1.1">{refs}</uws:jobs>'

    def results(self, job: Job, root: str = "") -> str:
        elements = ""
        if job.phase == "COMPLETED":
            elements = (
                f'<uws:result id="result" xlink:href="{self.url}/async/{job.id}/results/result" size="5" '
                'mime-type="text/plain"/>'
            )
        return f"<uws:results{root}>{elements}</uws:results>"

    def parameters(self, job: Job, root: str = "") -> str:
        elements = "".join(
            f'<uws:parameter id={quoteattr(key)} byReference="true">{self.url}/async/{job.id}/parameters/{key}'
            "</uws:parameter>"
            if key in job.files
            else f"<uws:parameter id={quoteattr(key)}>{escape(value)}</uws:parameter>"
            for key, value in job.parameters
        )
        return f"<uws:parameters{root}>{elements}</uws:parameters>"

    def job_document(self, job: Job) -> str:
        def instant_element(name: str, value: datetime | None) -> str:
            return f"<uws:{name}>{format_instant(value)}</uws:{name}>" if value else f'<uws:{name} xsi:nil="true"/>'

        run_id = "" if job.run_id is None else f"<uws:runId>{escape(job.run_id)}</uws:runId>"
        error = ""
        if job.phase == "ERROR":
            message = "<uws:message>it failed</uws:message>"
            error = f'<uws:errorSummary type="fatal" hasDetail="true">{message}</uws:errorSummary>'
        return (
            f'<uws:job {ROOT} version="1.1"><uws:jobId>{job.id}</uws:jobId>{run_id}'
            f"<uws:ownerId>{job.owner}</uws:ownerId>"
            f"<uws:phase>{job.phase}</uws:phase>{instant_element('quote', job.created + timedelta(hours=1))}"
            f"{instant_element('creationTime', job.created)}"
            f"{instant_element('startTime', job.started)}{instant_element('endTime', job.ended)}"
            f"<uws:executionDuration>{job.duration}</uws:executionDuration>"
            f"{instant_element('destruction', job.destruction)}"
            f"{self.parameters(job)}{self.results(job)}{error}</uws:job>"
        )

    def capabilities(self) -> str:
        def capability(standard: str, path: str) -> str:
            return (
                f'<capability standardID="{standard}"><interface xsi:type="vs:ParamHTTP" role="std">'
                f'<accessURL use="full">{self.url}{path}</accessURL></interface></capability>'
            )

        return (
            '<v:capabilities xmlns:v="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
            'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            + capability("ivo://ivoa.net/std/VOSI#capabilities", "/capabilities")
            + capability("ivo://ivoa.net/std/UWS#rest-1.1", "/async")
            + "</v:capabilities>"
        )
