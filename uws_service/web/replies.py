"""Responses that several resources give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from uws_service.domain.job import Job
from uws_service.protocol.uws import format_instant
from uws_service.web import pages

NO_STORE = {"cache-control": "no-store"}  # C-27
XML = "text/xml"
TEXT = "text/plain"
XML_BYTES = b"text/xml; charset=utf-8"
TEXT_BYTES = b"text/plain; charset=utf-8"
_NO_STORE = (b"cache-control", b"no-store")
REF_BYTES = 500
"""Of one job in a list, roughly."""


class PlainReply(Response):
    """An answer of 200 that is not stored anywhere; its headers are made without further work."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        self.status_code = 200
        self.body = body
        self.background = None
        self.raw_headers = [_NO_STORE, (b"content-type", content_type), (b"content-length", b"%d" % len(body))]


def see_other(url: str) -> Response:
    """Return 303 with an absolute Location (U-010, U-011)."""
    return Response(status_code=303, headers={"location": url, **NO_STORE})


def text_reply(text: str) -> Response:
    """Return a short text."""
    return Response(text, 200, NO_STORE, TEXT)


def instant_reply(instant: int | None) -> Response:
    """Return an instant as text; None is empty."""
    return text_reply(format_instant(instant) if instant is not None else "")


def html_reply(page: str) -> Response:
    """Return a page."""
    return Response(page, 200, {**NO_STORE, **pages.HEADERS}, "text/html")


def json_reply(document: Callable[[], Any]) -> Response:
    """Return what a function makes, as JSON."""
    return JSONResponse(document(), headers=NO_STORE)


def job_weight(job: Job) -> int:
    """Return the rough size of a job's document."""
    values = sum(len(parameter.value) for parameter in job.parameters)
    detail = len(job.error.detail) if job.error is not None else 0
    return values + detail + REF_BYTES * (len(job.parameters) + len(job.results))
