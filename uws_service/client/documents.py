"""UWS documents of any server, read into plain values (UWS 1.1 §2.2.2, and 1.0).

Instants are milliseconds since 1970-01-01T00:00:00Z, durations seconds, sizes bytes. What a server left out, or wrote
in a way that can't be understood, is None: a client that only wants the phase must not fail over the quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from uws_service.client.errors import BadDocument

UWS = "http://www.ivoa.net/xml/UWS/"
XLINK = "{http://www.w3.org/1999/xlink}"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
JOB_INFO = "{urn:uws-service:jobinfo:1}"
MAX_DEPTH = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|z|[+-]\d\d:?\d\d)?)?")


@dataclass(frozen=True, slots=True)
class JobParameter:
    """A parameter; ``value`` is a URL if ``by_reference``."""

    name: str
    value: str
    by_reference: bool = False


@dataclass(frozen=True, slots=True)
class JobResult:
    """A result.

    ``href`` is absolute, ``size`` in bytes and ``sha256`` in lower-case hex if the server tells them.
    """

    id: str
    href: str
    media_type: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed; ``has_detail``: ``{job}/error`` says more."""

    message: str
    transient: bool = False
    has_detail: bool = False


@dataclass(frozen=True, slots=True)
class JobLog:
    """What the job printed, as a link."""

    name: str
    href: str


@dataclass(frozen=True, slots=True)
class JobDocument:
    """One job as its server describes it.

    ``version`` is "1.0" if the document names none.
    """

    url: str
    id: str
    phase: str
    version: str = "1.0"
    run_id: str | None = None
    owner: str | None = None
    quote: int | None = None
    created: int | None = None
    started: int | None = None
    ended: int | None = None
    duration: int | None = None
    destruction: int | None = None
    parameters: tuple[JobParameter, ...] = ()
    results: tuple[JobResult, ...] = ()
    error: JobError | None = None
    progress: float | None = None
    """Fraction 0..1, if the server tells it."""
    message: str = ""
    """What the job says of its progress, or why it waits."""
    site: str | None = None
    site_reason: str = ""
    """Why it is that site, in the server's words."""
    data: str = ""
    """How its data came there, in the server's words."""
    share: str = ""
    """Whether its group is below, at or above its share, in the server's words."""
    logs: tuple[JobLog, ...] = ()
    notices: tuple[str, ...] = ()
    """What may be wrong with the request, in the server's words."""
    defaults: tuple[tuple[str, str], ...] = ()
    """Names and values of parameters that the server chose."""
    versions: tuple[tuple[str, str], ...] = ()
    """What the job was run with, and its version."""


@dataclass(frozen=True, slots=True)
class JobEntry:
    """One line of a job list."""

    id: str
    url: str
    phase: str
    run_id: str | None = None
    owner: str | None = None
    created: int | None = None


@dataclass(frozen=True, slots=True)
class JobList:
    """A job list in the server's order."""

    version: str
    jobs: tuple[JobEntry, ...] = field(default=())


def parse_job(content: bytes, url: str, media_type: str = "") -> JobDocument:
    """Return the job document that was read from ``url``.

    Raises `BadDocument`.
    """
    root, namespace = _root(content, "job", media_type, url)
    child = _children(root, namespace)
    identifier = _text(child.get("jobId")) or url.rstrip("/").rpartition("/")[2]
    phase = _text(child.get("phase"))
    if phase is None:
        raise BadDocument(f"{url} describes a job without a phase")
    info = _job_info(child.get("jobInfo"), url)
    return JobDocument(
        url=url,
        id=identifier,
        phase=phase.upper(),
        version=root.get("version") or "1.0",
        run_id=_text(child.get("runId")),
        owner=_text(child.get("ownerId")),
        quote=_instant(child.get("quote")),
        created=_instant(child.get("creationTime")),
        started=_instant(child.get("startTime")),
        ended=_instant(child.get("endTime")),
        duration=_integer(_text(child.get("executionDuration"))),
        destruction=_instant(child.get("destruction")),
        parameters=tuple(_parameters(child.get("parameters"), namespace)),
        results=tuple(_results(child.get("results"), namespace, url, info.checksums)),
        error=_error(child.get("errorSummary"), namespace),
        progress=info.progress,
        message=next((message for message in info.messages if message), ""),
        site=info.site,
        site_reason=info.site_reason,
        data=info.data,
        share=info.share,
        logs=tuple(info.logs),
        notices=tuple(info.notices),
        defaults=tuple(info.defaults),
        versions=tuple(info.versions),
    )


def parse_jobs(content: bytes, url: str, media_type: str = "") -> JobList:
    """Return the job list that was read from ``url``.

    Raises `BadDocument`.
    """
    root, namespace = _root(content, "jobs", media_type, url)
    base = url.partition("?")[0]
    entries = []
    for reference in root.iter(f"{namespace}jobref"):
        child = _children(reference, namespace)
        href = _href(reference)
        identifier = reference.get("id") or (href or "").rstrip("/").rpartition("/")[2]
        if not identifier:
            continue
        entries.append(
            JobEntry(
                id=identifier,
                url=resolve(base, href) if href else f"{base.rstrip('/')}/{quote(identifier, safe='')}",
                phase=(_text(child.get("phase")) or "UNKNOWN").upper(),
                run_id=_text(child.get("runId")),
                owner=_text(child.get("ownerId")),
                created=_instant(child.get("creationTime")),
            )
        )
    return JobList(root.get("version") or "1.0", tuple(entries))


def resolve(base: str, href: str) -> str:
    """Return an absolute URL for a link in the document at ``base``.

    Servers that write relative links mean them below the resource (``results/a`` in ``…/async/42``), or from its
    parent (``42/results/a``), whatever RFC 3986 makes of a base without a slash at its end.
    """
    href = href.strip()
    first = href.lstrip("./").partition("/")[0]
    parts = urlsplit(href)
    if parts.scheme or href.startswith(("/", "?", "#")) or first == urlsplit(base).path.rstrip("/").rpartition("/")[2]:
        return urljoin(base.rstrip("/"), href)
    return urljoin(base.rstrip("/") + "/", href)


# --- instants ---------------------------------------------------------------------------------------------------


def parse_instant(text: str) -> int | None:
    """Return milliseconds since the epoch, or None.

    No zone means UTC, as UWS wants it (U-008); offsets are understood.
    """
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        instant = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), tzinfo=UTC)
    except ValueError:
        return None
    if int(second or 0) > 60:
        return None
    seconds = timedelta(seconds=int(second or 0))  # 60 is a leap second
    milliseconds = (instant - _EPOCH + seconds) // timedelta(milliseconds=1) + int((fraction or "0")[:3].ljust(3, "0"))
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        milliseconds -= (1 if zone[0] == "+" else -1) * (hours * 60 + minutes) * 60_000
    return milliseconds


def format_instant(milliseconds: int) -> str:
    """Return ``2026-01-02T03:04:05.678Z``."""
    instant = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


# --- XML --------------------------------------------------------------------------------------------------------


def read_xml(content: bytes) -> Element:
    """Return the root element.

    Documents that declare entities, or are nested absurdly deep, are refused unread.
    """
    parser = expat.ParserCreate(namespace_separator="}")
    builder: TreeBuilder = TreeBuilder()
    depth = 0

    def name_of(name: str) -> str:
        return "{" + name if "}" in name else name

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise BadDocument("the XML is nested too deep")
        builder.start(name_of(name), {name_of(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name_of(name))

    def refuse(*_: Any) -> int:
        raise BadDocument("the XML declares entities, which no UWS document needs")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise BadDocument(f"the XML is broken: {error}") from None
    root: Element = builder.close()
    return root


def _root(content: bytes, expected: str, media_type: str, url: str) -> tuple[Element, str]:
    """Return the document element and its namespace in braces."""
    kind = media_type.partition(";")[0].strip().lower()
    try:
        root = read_xml(content)
    except BadDocument as error:
        if kind and "xml" not in kind:
            raise BadDocument(f"{url} answers with {kind} where a UWS document was expected") from None
        raise BadDocument(f"{url}: {error.message}") from None
    namespace, name = _split(root.tag)
    if namespace and not namespace.startswith("{" + UWS):
        raise BadDocument(f"{url} answers with a document of another kind: <{name}> in {namespace[1:-1]}")
    if name != expected:
        hint = {"job": "a job", "jobs": "a job list"}
        description = hint.get(name, f"<{name}>")
        raise BadDocument(f"{url} is {description}, not {hint[expected]}")
    return root, namespace


def _split(tag: str) -> tuple[str, str]:
    namespace, brace, name = tag.rpartition("}")
    return (namespace + brace, name)


def _children(element: Element, namespace: str) -> dict[str, Element]:
    """Return the direct children in the UWS namespace by local name; the first of each."""
    children: dict[str, Element] = {}
    for child in element:
        its_namespace, name = _split(child.tag)
        if its_namespace == namespace:
            children.setdefault(name, child)
    return children


def _text(element: Element | None) -> str | None:
    if element is None or element.get(NIL) in ("true", "1"):
        return None
    return "".join(element.itertext()).strip() or None


def _integer(text: str | None) -> int | None:
    try:
        return int(float(text)) if text is not None else None
    except (ValueError, OverflowError):
        return None


def _instant(element: Element | None) -> int | None:
    text = _text(element)
    return parse_instant(text) if text is not None else None


def _href(element: Element) -> str | None:
    return element.get(f"{XLINK}href") or element.get("href")


def _parameters(element: Element | None, namespace: str) -> Iterator[JobParameter]:
    for parameter in element.iter(f"{namespace}parameter") if element is not None else ():
        by_reference = parameter.get("byReference", "").strip() in ("true", "1")
        yield JobParameter(parameter.get("id", ""), "".join(parameter.itertext()), by_reference)


def _results(element: Element | None, namespace: str, url: str, checksums: Mapping[str, str]) -> Iterator[JobResult]:
    for result in element.iter(f"{namespace}result") if element is not None else ():
        identifier, href = result.get("id", ""), _href(result)
        if href is None:
            if not identifier:
                continue
            href = f"results/{quote(identifier, safe='')}"
        size = _integer(result.get("size"))
        yield JobResult(
            id=identifier or href.rstrip("/").rpartition("/")[2],
            href=resolve(url, href),
            media_type=result.get("mime-type") or None,
            size=size if size is not None and size >= 0 else None,
            sha256=checksums.get(identifier),
        )


def _error(element: Element | None, namespace: str) -> JobError | None:
    if element is None:
        return None
    message = _text(_children(element, namespace).get("message")) or _text(element) or "no message"
    return JobError(
        message=message,
        transient=element.get("type", "").strip().lower() == "transient",
        has_detail=element.get("hasDetail", "").strip() in ("true", "1"),
    )


@dataclass(slots=True)
class _Info:
    """What a server of our own kind tells beside UWS."""

    progress: float | None = None
    messages: list[str] = field(default_factory=list)
    site: str | None = None
    site_reason: str = ""
    data: str = ""
    share: str = ""
    logs: list[JobLog] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    defaults: list[tuple[str, str]] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)


def _job_info(element: Element | None, url: str) -> _Info:
    info = _Info()
    for descendant in element.iter() if element is not None else ():
        namespace, name = _split(descendant.tag)
        if namespace != JOB_INFO:
            continue
        text = " ".join((descendant.text or "").split())
        href = _href(descendant)
        if name == "progress":
            info.progress = _fraction(descendant.get("percent", ""))
            info.messages.append(text)
        elif name == "waiting":
            ahead = descendant.get("ahead")
            info.messages.append(f"{text} ({ahead} ahead)" if ahead else text)
        elif name == "site":
            info.site, info.site_reason = text, descendant.get("reason", "")
        elif name == "data":
            info.data = text
        elif name == "share":
            info.share = text
        elif name == "checksum" and descendant.get("algorithm") == "SHA-256":
            info.checksums[descendant.get("result", "")] = text.lower()
        elif name == "notice":
            info.notices.append(text)
        elif name == "default":
            info.defaults.append((descendant.get("name", ""), descendant.text or ""))
        elif name == "version":
            info.versions.append((descendant.get("of", ""), text))
        elif name == "log" and href is not None:
            info.logs.append(JobLog(descendant.get("name") or href.rpartition("/")[2], resolve(url, href)))
    return info


def _fraction(percent: str) -> float | None:
    try:
        return min(max(float(percent.rstrip("% ")) / 100, 0.0), 1.0)
    except ValueError:
        return None
