"""A plain HTTP client for tests.

It follows no redirect, and validates every XML document against our schemas and the official ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self

import httpx2
from lxml import etree

from tests import official
from tests.schemas import validate

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
XLINK = "{http://www.w3.org/1999/xlink}"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
Pairs = Sequence[tuple[str, str]]

ENDED = ("COMPLETED", "ERROR", "ABORTED")


class Uws:
    """A user of an application."""

    def __init__(self, root: str, application: str = "probe", user: str | None = None) -> None:
        headers = {"X-Auth-Request-User": user} if user else {}
        self.root = root
        self.base = f"{root}/{application}"
        self.jobs = f"{self.base}/async"
        self.http = httpx2.Client(timeout=180, headers=headers)
        self.made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.made:
            self.http.delete(job)
        self.http.close()

    def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Send a request, and validate the XML that comes back."""
        answer = self.http.request(method, url, **options)
        kind = answer.headers.get("content-type", "")
        if method != "HEAD" and kind.startswith("text/xml") and answer.content:
            validate(answer.content)
            official.validate(answer.content)
        return answer

    def get(self, url: str, **options: Any) -> httpx2.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, data: dict[str, Any] | None = None, **options: Any) -> httpx2.Response:
        return self.request("POST", url, data=data, **options)

    def create(self, data: dict[str, Any] | None = None, **options: Any) -> str:
        """Create a job by a 303 (U-021, U-120).

        Return its URL.
        """
        answer = self.post(self.jobs, data, **options)
        assert answer.status_code == 303, answer.text
        job = answer.headers["location"]
        self.made.append(job)
        return str(job)

    def run(self, job: str) -> None:
        assert self.post(f"{job}/phase", {"PHASE": "RUN"}).status_code == 303

    def phase(self, job: str) -> str:
        answer = self.get(f"{job}/phase")
        assert answer.status_code == 200, answer.text
        return answer.text

    def document(self, job: str, query: str = "") -> Any:
        answer = self.get(job + query)
        assert answer.status_code == 200, answer.text
        return etree.fromstring(answer.content)

    def wait(self, job: str, *phases: str, timeout: float = 240) -> str:
        """Wait for phases, by default the final ones.

        Fails at once when the job has ended in another one.
        """
        targets = phases or ENDED
        deadline = time.monotonic() + timeout
        while (phase := self.phase(job)) not in targets:
            is_over = phase in ENDED
            assert not is_over or "ARCHIVED" in targets, f"it is {phase}, not {targets}:\n{self.get(job).text}"
            assert time.monotonic() < deadline, f"still {phase}, not {targets}:\n{self.get(job).text}"
            if is_over:  # WAIT answers at once
                time.sleep(0.1)
            else:
                self.get(f"{job}?WAIT=2&PHASE={phase}")
        return phase

    def listed(self, query: str = "") -> list[Any]:
        answer = self.get(self.jobs + query)
        assert answer.status_code == 200, answer.text
        return list(etree.fromstring(answer.content))


def text(document: Any, name: str) -> str | None:
    """Return the text of a job's child.

    None if nil or absent.
    """
    element = document.find(UWS + name)
    return None if element is None or element.get(NIL) == "true" else element.text


def job_id(job: str) -> str:
    return job.rpartition("/")[2]
