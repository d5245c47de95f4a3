"""Documents for programs as pages for people: VOSI, DALI examples, a job's results. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lxml import etree

from uws_service.applications import Application
from uws_service.applications.model import Example
from uws_service.domain.job import Job
from uws_service.protocol.uws import JobUrls
from uws_service.web import pages
from uws_service.web.pages import Account

NAMES: Mapping[str, str] = {
    "ivo://ivoa.net/std/VOSI#capabilities": "This document (VOSI capabilities)",
    "ivo://ivoa.net/std/VOSI#availability": "Availability (VOSI)",
    "ivo://ivoa.net/std/VOSI#tables-1.1": "Tables (VOSI)",
    "ivo://ivoa.net/std/UWS#rest-1.1": "Jobs (UWS 1.1)",
    "ivo://ivoa.net/std/TAP": "Queries (TAP)",
    "ivo://ivoa.net/std/DALI#examples": "Examples (DALI)",
    "": "Synchronous requests",
}
"""What standards are, in words."""


class Capability(NamedTuple):
    """A standard that an application speaks, and where."""

    standard: str
    name: str
    urls: tuple[str, ...]


def capabilities_page(application: Application, document: bytes, base: str, account: Account | None = None) -> str:
    """Return the capabilities as a page; ``document`` is what programs get, made by this service."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    root = etree.fromstring(document, parser)  # noqa: TID251 -- written by this service a moment ago
    capabilities = []
    for element in root.iter("{*}capability", "capability"):
        standard = element.get("standardID") or ""
        urls = [(url.text or "").strip() for url in element.iter("accessURL", "{*}accessURL")]
        capabilities.append(Capability(standard, NAMES.get(standard, standard), tuple(dict.fromkeys(urls))))
    return _page("capabilities.html", application, "capabilities", base, account, capabilities=capabilities)


def availability_page(
    application: Application, problems: Sequence[str], up_since: int, base: str, account: Account | None = None
) -> str:
    """Return the availability as a page."""
    return _page("availability.html", application, "availability", base, account, problems=problems, up_since=up_since)


def examples_page(application: Application, base: str, account: Account | None = None) -> str:
    """Return the examples as a page: each can be put into an editor, or run."""
    examples = [(example, _fields(example), _runs(example)) for example in application.examples]
    return _page("examples.html", application, "examples", base, account, examples=examples)


def _fields(example: Example) -> list[tuple[str, str]]:
    """Return an example's parameters, repeated ones one by one."""
    return [
        (name, str(single))
        for name, value in example.parameters.items()
        for single in (value if isinstance(value, (list, tuple)) else (value,))
    ]


def _runs(example: Example) -> bool:
    """Return whether an example needs no file of the reader's."""
    return not any("param:" in value for _, value in _fields(example))


def results_page(job: Job, application: Application, urls: JobUrls, base: str, account: Account | None = None) -> str:
    """Return a job's results as a page."""
    return pages.render("results.html", base, account, f"/{application.name}/async/{job.id}/results",
                         application=application, job=job, urls=urls)  # fmt: skip


def _page(
    template: str, application: Application, resource: str, base: str, account: Account | None, **values: object
) -> str:
    url = f"{base}/{application.name}"
    return pages.render(
        template, base, account, f"/{application.name}/{resource}", application=application, url=url, **values
    )
