"""An Atom feed of finished jobs (RFC 4287). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lxml import etree

from uws_service.domain.job import Phase
from uws_service.protocol.uws.values import XML_ILLEGAL, format_instant

MEDIA_TYPE = "application/atom+xml; charset=utf-8"
NAMESPACE = "http://www.w3.org/2005/Atom"


class Finished(NamedTuple):
    """A job that has ended; instants in milliseconds."""

    id: str
    application: str
    phase: Phase
    run_id: str | None
    ended: int


def feed(jobs: Sequence[Finished], *, base: str, owner: str, now: int) -> bytes:
    """Return the feed of an owner's finished jobs, the newest first.

    Parameters
    ----------
    base
        Public URL of the service's root.
    now
        What stands for the time of the last change if there are no jobs.
    """
    nsmap: Any = {None: NAMESPACE}
    root = etree.Element(f"{{{NAMESPACE}}}feed", nsmap=nsmap)
    _text(root, "id", f"{base}/feed?owner={owner}")
    _text(root, "title", "Finished jobs")
    _text(root, "updated", format_instant(jobs[0].ended if jobs else now))
    _link(root, "alternate", f"{base}/jobs")
    for job in jobs:
        entry = etree.SubElement(root, f"{{{NAMESPACE}}}entry")
        url = f"{base}/{job.application}/async/{job.id}"
        _text(entry, "id", url)
        name = f" ({job.run_id})" if job.run_id else ""
        _text(entry, "title", f"{job.phase}: {job.application}{name}")
        _text(entry, "updated", format_instant(job.ended))
        author = etree.SubElement(entry, f"{{{NAMESPACE}}}author")
        _text(author, "name", "uws-service")
        _link(entry, "alternate", url)
        etree.SubElement(entry, f"{{{NAMESPACE}}}category", term=job.phase)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _text(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, f"{{{NAMESPACE}}}{name}").text = XML_ILLEGAL.sub("\ufffd", text)


def _link(parent: etree._Element, relation: str, url: str) -> None:
    etree.SubElement(parent, f"{{{NAMESPACE}}}link", rel=relation, href=url)
