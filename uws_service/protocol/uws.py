"""UWS documents and words to values and back (UWS 1.1, schema §2).

Pure: bytes and values, no I/O. Documents keep the literal prefixes ``uws:`` and ``xlink:``, since some clients read
them without regard to namespaces (C-01).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote as url_quote

from lxml import etree

from uws_service.domain.errors import UsageError
from uws_service.domain.job import MAX_DURATION, Job, Parameter, Phase
from uws_service.domain.jobinfo import LostAttempt

UWS_NS = "http://www.ivoa.net/xml/UWS/v1.0"
XLINK_NS = "http://www.w3.org/1999/xlink"
XSI_NS = "http://www.w3.org/2001/XMLSchema-instance"
INFO_NS = "urn:uws-service:jobinfo:1"

_U = f"{{{UWS_NS}}}"
_I = f"{{{INFO_NS}}}"
_HREF = f"{{{XLINK_NS}}}href"
_NIL = f"{{{XSI_NS}}}nil"
_NSMAP = {"uws": UWS_NS, "xlink": XLINK_NS, "xsi": XSI_NS}
_INFO_NSMAP = {"info": INFO_NS}
STREAMS = ("stdout", "stderr")

_XML_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 can't hold. A carriage return can be, as ``&#13;``; TOPCAT sends queries with them."""


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
            attempt=info.attempt,
            row=info.row,
            lost=info.lost_attempts,
            logs=tuple(logs),
            notices=info.notices,
            defaults=tuple(info.defaults.items()),
            versions=tuple(info.versions.items()),
        )


_EMPTY_INFO = JobInfoView()


# --- values -------------------------------------------------------------------------------------------------------

_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?)?Z?", re.ASCII)
_INSTANT_HINT = "YYYY-MM-DDThh:mm:ss.sssZ (UTC; time, fraction and Z may be left out, no other offset)"


def format_instant(ms: int) -> str:
    """Return an instant as documents show it (U-008, C-02, C-33).

    That is UTC with three digits of fraction and Z.
    """
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}.{ms % 1000:03d}Z"


def parse_instant(text: str, name: str = "DESTRUCTION") -> int:
    """Return milliseconds since the epoch (U-055, U-135).

    What is finer is cut off. Raises `UsageError`.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is not None:
        year, month, day, hour, minute, second, fraction = match.groups()
        try:
            at = datetime(
                int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
            )
            return int(at.timestamp()) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
        except ValueError:
            pass
    raise UsageError(f"{name}={text[:40]!r} is not an instant; write {_INSTANT_HINT}.")


def parse_duration(text: str, name: str = "EXECUTIONDURATION") -> int:
    """Return whole seconds that fit into xs:int (U-136, U-139).

    "10.0" is taken too, since pyvo may send it.
    """
    try:
        value = float(text.strip()) if re.fullmatch(r"\s*\d+(\.\d*)?\s*", text, re.ASCII) else math.nan
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise UsageError(f"{name}={text[:40]!r} is not a number of seconds; write a whole number, 0 for no limit.")
    return math.ceil(min(value, MAX_DURATION))


def parse_wait(text: str) -> int:
    """Return WAIT in seconds (U-150, U-153, U-155).

    Negative: as long as the service allows.
    """
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise UsageError(f"WAIT={text[:40]!r} is not a whole number of seconds; -1 waits as long as is allowed.")
    return int(text)


def parse_last(text: str | None) -> int | None:
    """Return LAST, an integer above 0 (U-056, U-059)."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) == 0:
        raise UsageError(f"LAST={text[:40]!r} is not a whole number above 0.")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """Return AFTER in milliseconds (U-055).

    A job is later than the instant if its creation is above this number.
    """
    return None if text is None else parse_instant(text, "AFTER")


def parse_phases(values: Sequence[str]) -> frozenset[Phase] | None:
    """Return the union of PHASE filters (U-052, U-053).

    None: there is no filter.
    """
    phases = set()
    for value in values:
        try:
            phases.add(Phase(value.strip().upper()))
        except ValueError:
            raise UsageError(f"PHASE={value[:40]!r} is not a phase; phases are {', '.join(Phase)}.") from None
    return frozenset(phases) or None


def is_reference(parameter: Parameter) -> bool:
    """Return whether a parameter is shown by reference (U-080).

    That is a file, or a value that XML can't hold.
    """
    return parameter.upload is not None or _XML_ILLEGAL.search(parameter.value) is not None


def numbered(parameters: Iterable[Parameter]) -> Iterator[tuple[Parameter, int]]:
    """Return each value with its number among those of its name.

    Numbers begin at 1; the case of names does not matter (D-020).
    """
    counts: dict[str, int] = {}
    for parameter in parameters:
        key = parameter.name.upper()
        counts[key] = counts.get(key, 0) + 1
        yield parameter, counts[key]


def xml_text(text: str) -> str:
    """Replace what XML can't hold by U+FFFD."""
    return _XML_ILLEGAL.sub("\ufffd", text)


# --- XML ----------------------------------------------------------------------------------------------------------


def _child(parent: etree._Element, name: str, text: str | None) -> None:
    """Add a child with a text, or nil (U-072)."""
    child = etree.SubElement(parent, _U + name)
    if text is None:
        child.set(_NIL, "true")
    else:
        child.text = text


def _instant(ms: int | None) -> str | None:
    return None if ms is None else format_instant(ms)


def _write(root: etree._Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="UTF-8")


def job_xml(job: Job, *, urls: JobUrls, info: JobInfoView | None = None) -> bytes:
    """Return the job document, in the schema's order (U-070)."""
    root = etree.Element(_U + "job", {"version": "1.1"}, nsmap=_NSMAP)
    _child(root, "jobId", job.id)
    if job.run_id is not None:
        _child(root, "runId", xml_text(job.run_id))
    _child(root, "ownerId", None if job.owner is None else xml_text(job.owner))
    _child(root, "phase", job.phase)
    _child(root, "quote", _instant(job.quote))
    _child(root, "creationTime", format_instant(job.created))
    _child(root, "startTime", _instant(job.started))
    _child(root, "endTime", _instant(job.ended))
    _child(root, "executionDuration", str(job.duration))
    _child(root, "destruction", _instant(job.destruction))
    _add_parameters(etree.SubElement(root, _U + "parameters"), job, urls)
    _add_results(etree.SubElement(root, _U + "results"), job, urls)
    if job.error is not None:
        kind = "transient" if job.error.transient else "fatal"
        summary = etree.SubElement(root, _U + "errorSummary", {"type": kind, "hasDetail": "true"})
        _child(summary, "message", xml_text(job.error.message))
    if info is not None:
        _add_info(root, info, job)
    return _write(root)


def _add_parameters(parent: etree._Element, job: Job, urls: JobUrls) -> None:
    for parameter, number in numbered(job.parameters):
        child = etree.SubElement(parent, _U + "parameter", {"id": xml_text(parameter.name)})
        if is_reference(parameter):
            child.set("byReference", "true")
            child.text = urls.parameter(job.id, parameter.name, number)
        else:
            child.text = parameter.value


def _add_results(parent: etree._Element, job: Job, urls: JobUrls) -> None:
    for result in job.results:
        attributes = {
            "id": xml_text(result.id),
            _HREF: result.location or urls.result(job.id, result.id),
            "size": str(result.size),
            "mime-type": xml_text(result.media_type),
        }
        etree.SubElement(parent, _U + "result", attributes)


def _add_info(root: etree._Element, info: JobInfoView, job: Job) -> None:
    if info == _EMPTY_INFO and job.error is None and not job.results:
        return
    element = etree.SubElement(etree.SubElement(root, _U + "jobInfo"), _I + "info", nsmap=_INFO_NSMAP)
    if info.progress is not None or info.message:
        progress = etree.SubElement(element, _I + "progress")
        if info.progress is not None:
            progress.set("percent", f"{100 * info.progress:.1f}")
        progress.text = xml_text(info.message) or None
    if info.waiting:
        waiting = etree.SubElement(element, _I + "waiting")
        if info.ahead is not None:
            waiting.set("ahead", str(info.ahead))
        waiting.text = xml_text(info.waiting)
    if info.site:
        site = etree.SubElement(element, _I + "site")
        if info.site_reason:
            site.set("reason", xml_text(info.site_reason))
        site.text = xml_text(info.site)
    if info.attempt is not None:
        etree.SubElement(element, _I + "attempt").text = str(info.attempt)
    if info.row is not None:
        etree.SubElement(element, _I + "row").text = str(info.row)
    for attempt in info.lost:
        attributes = {
            "attempt": str(attempt.number),
            "site": xml_text(attempt.site),
            "reason": xml_text(attempt.reason),
        }
        etree.SubElement(element, _I + "lost", attributes).text = xml_text(attempt.message)
    if job.error is not None:
        etree.SubElement(element, _I + "reason").text = xml_text(job.error.reason)
    for result in job.results:
        attributes = {"result": xml_text(result.id), "algorithm": "SHA-256"}
        etree.SubElement(element, _I + "checksum", attributes).text = result.sha256
    for name, url, size in info.logs:
        log = etree.SubElement(element, _I + "log", {"name": name, _HREF: url})
        if size is not None:
            log.set("size", str(size))
    for notice in info.notices:
        etree.SubElement(element, _I + "notice").text = xml_text(notice)
    for name, value in info.defaults:
        etree.SubElement(element, _I + "default", {"name": xml_text(name)}).text = xml_text(value)
    for name, version in info.versions:
        etree.SubElement(element, _I + "version", {"of": name}).text = xml_text(version)


def parameters_xml(job: Job, *, urls: JobUrls) -> bytes:
    """Return the parameter list as a document (U-036, U-088)."""
    root = etree.Element(_U + "parameters", nsmap=_NSMAP)
    _add_parameters(root, job, urls)
    return _write(root)


def results_xml(job: Job, *, urls: JobUrls) -> bytes:
    """Return the result list as a document (U-034, U-088)."""
    root = etree.Element(_U + "results", nsmap=_NSMAP)
    _add_results(root, job, urls)
    return _write(root)


_JOBS_OPEN = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<uws:jobs xmlns:uws="{UWS_NS}" xmlns:xlink="{XLINK_NS}" '
    f'xmlns:xsi="{XSI_NS}" version="1.1">'
).encode()


def jobs_open() -> bytes:
    """Return the beginning of a job list (U-007, U-050)."""
    return _JOBS_OPEN


def jobs_close() -> bytes:
    """Return the end of a job list."""
    return b"</uws:jobs>\n"


_ESCAPES = {ord(character): f"&#{ord(character)};" for character in '&<>"\r\n\t'}


def _escape(text: str) -> str:
    """Return text for an element or an attribute (U-077).

    White space survives as it is.
    """
    return xml_text(text).translate(_ESCAPES)


def jobrefs(refs: Iterable[JobRefLike], urls: JobUrls) -> bytes:
    """Return entries of a job list (U-050, U-061).

    They are written as text, since a list may have a million of them.
    """
    parts = []
    base = _escape(urls.jobs)
    for ref in refs:
        run_id = f"<uws:runId>{_escape(ref.run_id)}</uws:runId>" if ref.run_id is not None else ""
        owner = (
            f"<uws:ownerId>{_escape(ref.owner)}</uws:ownerId>"
            if ref.owner is not None
            else '<uws:ownerId xsi:nil="true"/>'
        )
        parts.append(
            f'<uws:jobref id="{ref.id}" xlink:href="{base}/{ref.id}"><uws:phase>{ref.phase}</uws:phase>{run_id}{owner}'
            f"<uws:creationTime>{format_instant(ref.created)}</uws:creationTime></uws:jobref>\n"
        )
    return "".join(parts).encode()


# --- JSON ---------------------------------------------------------------------------------------------------------


def jobs_json(refs: Iterable[JobRefLike], urls: JobUrls) -> dict[str, Any]:
    """Return the job list as JSON."""
    return {
        "version": "1.1",
        "jobs": [
            {
                "id": ref.id,
                "href": urls.job(ref.id),
                "phase": ref.phase,
                "runId": ref.run_id,
                "ownerId": ref.owner,
                "creationTime": format_instant(ref.created),
            }
            for ref in refs
        ],
    }


def job_json(job: Job, *, urls: JobUrls, info: JobInfoView | None = None) -> dict[str, Any]:
    """Return the job as JSON, named as in XML."""
    return {
        "version": "1.1",
        "jobId": job.id,
        "href": urls.job(job.id),
        "runId": job.run_id,
        "ownerId": job.owner,
        "phase": job.phase,
        "quote": _instant(job.quote),
        "creationTime": format_instant(job.created),
        "startTime": _instant(job.started),
        "endTime": _instant(job.ended),
        "executionDuration": job.duration,
        "destruction": _instant(job.destruction),
        "parameters": [_parameter_json(parameter, number, job, urls) for parameter, number in numbered(job.parameters)],
        "results": [
            {
                "id": result.id,
                "href": result.location or urls.result(job.id, result.id),
                "size": result.size,
                "mime-type": result.media_type,
                "sha256": result.sha256,
            }
            for result in job.results
        ],
        "errorSummary": None
        if job.error is None
        else {
            "type": "transient" if job.error.transient else "fatal",
            "reason": job.error.reason,
            "message": job.error.message,
            "detail": job.error.detail,
        },
        "jobInfo": None if info is None else _info_json(info),
    }


def _parameter_json(parameter: Parameter, number: int, job: Job, urls: JobUrls) -> Mapping[str, Any]:
    if is_reference(parameter):
        href = urls.parameter(job.id, parameter.name, number)
        return {"id": parameter.name, "byReference": True, "value": href, "size": parameter.size}
    return {"id": parameter.name, "byReference": False, "value": parameter.value}


def _info_json(info: JobInfoView) -> dict[str, Any]:
    return {
        "progress": info.progress,
        "message": info.message or None,
        "waiting": info.waiting or None,
        "ahead": info.ahead,
        "site": info.site or None,
        "siteReason": info.site_reason or None,
        "attempt": info.attempt,
        "row": info.row,
        "lost": [
            {"attempt": attempt.number, "site": attempt.site, "reason": attempt.reason, "message": attempt.message}
            for attempt in info.lost
        ],
        "logs": [{"name": name, "href": url, "size": size} for name, url, size in info.logs],
        "notices": list(info.notices),
        "defaults": dict(info.defaults),
        "versions": dict(info.versions),
    }
