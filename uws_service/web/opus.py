"""Provenance among a job's results, under the names that OPUS gives it (P-030); only if the settings want it.

It is off by default: programs that take the first result, or all, would take these too (P-032).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

from uws_service.domain.job import FINAL, Job, Phase, Result
from uws_service.offload import offload
from uws_service.protocol.provenance import Graph, JobRecord, add_job, prov_json
from uws_service.service.backend import Backend
from uws_service.web.picture import picture


class OpusResults:
    """Adds ``provjson`` and ``provsvg`` to the results of jobs that have ended."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.enabled = backend.publishing.opus_results

    async def added(self, job: Job, base: str) -> Job:
        """Return the job as its documents show it."""
        if not self.enabled or job.phase not in FINAL or job.phase is Phase.ARCHIVED:
            return job
        attempts = await self.service.views.attempts(job.id)
        record = JobRecord(job, self.service.applications.get(job.application), tuple(attempts))
        return replace(job, results=(*job.results, *await offload(0, lambda: tuple(_results(record, base)))))


def _results(record: JobRecord, base: str) -> Iterator[Result]:
    graph = Graph(base)
    add_job(graph, record)
    url = f"{base}/{quote(record.job.application, safe='')}/async/{record.job.id}/provenance?RESPONSEFORMAT="
    for name, form, media_type, body in (
        ("provjson", "PROV-JSON", "application/json", prov_json(graph)),
        ("provsvg", "PROV-SVG", "image/svg+xml", str(picture(record, base)).encode(errors="replace")),
    ):
        yield Result(name, "", media_type, len(body), hashlib.sha256(body).hexdigest(), url + form)
