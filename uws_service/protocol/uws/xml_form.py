"""Jobs as XML (UWS 1.1, schema §2).

Documents keep the literal prefixes ``uws:`` and ``xlink:``, since some clients read them without regard to namespaces
(C-01).
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from uws_service.domain.job import Job
from uws_service.protocol.uws.values import format_instant, optional_instant, xml_text
from uws_service.protocol.uws.views import JobInfoView, JobRefLike, JobUrls, is_reference, numbered

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
_EMPTY_INFO = JobInfoView()


def _child(parent: etree._Element, name: str, text: str | None) -> None:
    """Add a child with a text, or nil (U-072)."""
    child = etree.SubElement(parent, _U + name)
    if text is None:
        child.set(_NIL, "true")
    else:
        child.text = text


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
    _child(root, "quote", optional_instant(job.quote))
    _child(root, "creationTime", format_instant(job.created))
    _child(root, "startTime", optional_instant(job.started))
    _child(root, "endTime", optional_instant(job.ended))
    _child(root, "executionDuration", str(job.duration))
    _child(root, "destruction", optional_instant(job.destruction))
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
    for name, words in (("data", info.data), ("share", info.share)):
        if words:
            etree.SubElement(element, _I + name).text = xml_text(words)
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
    for name, value in info.estimate:
        etree.SubElement(element, _I + "estimate", {"of": name}).text = xml_text(value)


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
