"""The list of one's jobs over all applications, of services of our own kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from uws_service.client.documents import JobEntry, JobList, format_instant, parse_instant
from uws_service.client.errors import BadDocument
from uws_service.client.http import Http

PAGE = 500
USUAL_JOBS = 1000
"""Jobs that are listed if nobody says how many."""


def all_jobs(
    http: Http, url: str, *, phases: Iterable[str] = (), after: int | None = None, last: int | None = None
) -> JobList:
    """Return the newest jobs, page by page."""
    limit = last if last is not None else USUAL_JOBS
    query = [("PHASE", phase.upper()) for phase in phases]
    if after is not None:
        query.append(("AFTER", format_instant(after)))
    following: str | None = f"{url}?{urlencode([*query, ('LIMIT', min(limit, PAGE))])}"
    entries: list[JobEntry] = []
    while following is not None and len(entries) < limit:
        answer = http.send("GET", following, headers={"Accept": "application/json"})
        try:
            document = json.loads(answer.body)
            entries += map(_entry, document["jobs"])
            following = document["next"]
        except (ValueError, KeyError, TypeError):
            raise BadDocument(f"{url} answers with something that is no list of jobs") from None
    return JobList("1.1", tuple(entries[:limit]))


def _entry(job: dict[str, Any]) -> JobEntry:
    created = parse_instant(str(job["creationTime"]))
    return JobEntry(str(job["id"]), str(job["href"]), str(job["phase"]), job.get("runId"), None, created)
