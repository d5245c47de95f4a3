"""Jobs as JSON, with the names of the XML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uws_service.domain.job import Job, Parameter
from uws_service.domain.placement import Candidate
from uws_service.protocol.uws.values import format_instant, optional_instant
from uws_service.protocol.uws.views import JobInfoView, JobRefLike, JobUrls, is_reference, numbered


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
        "quote": optional_instant(job.quote),
        "creationTime": format_instant(job.created),
        "startTime": optional_instant(job.started),
        "endTime": optional_instant(job.ended),
        "executionDuration": job.duration,
        "destruction": optional_instant(job.destruction),
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


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "site": candidate.site,
        "objections": list(candidate.objections),
        "seconds": round(candidate.seconds, 1),
        "costs": [{"rank": cost.rank, "seconds": cost.seconds, "words": cost.words} for cost in candidate.costs],
    }


def _info_json(info: JobInfoView) -> dict[str, Any]:
    return {
        "progress": info.progress,
        "message": info.message or None,
        "waiting": info.waiting or None,
        "ahead": info.ahead,
        "site": info.site or None,
        "siteReason": info.site_reason or None,
        "data": info.data or None,
        "share": info.share or None,
        "placement": [_candidate_json(candidate) for candidate in info.placement],
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
        "estimate": dict(info.estimate),
    }
