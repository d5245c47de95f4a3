"""What a job has beyond UWS: a name that can be changed, a longer life, all results at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound, UsageError
from uws_service.domain.job import Job
from uws_service.web.all_jobs import DAY_MS, MAX_DAYS
from uws_service.web.bundle import Entry, distinct, safe_name, tar_chunks, zip_chunks
from uws_service.web.call import call_of
from uws_service.web.intake import run_id_of
from uws_service.web.job_handlers import JobHandlers, JobPath, query_value, query_values
from uws_service.web.job_view import job_urls
from uws_service.web.replies import NO_STORE, see_other, text_reply
from uws_service.web.resource import Resource

FORMS = {"zip": (zip_chunks, "application/zip"), "tar": (tar_chunks, "application/x-tar")}


class JobExtras(JobHandlers):
    """Handlers of ``{job}/name``, ``{job}/extend`` and ``{job}/download``."""

    async def name(self, request: Request) -> Response:
        """GET {job}/name: the RUNID, empty without one."""
        return text_reply((await self._job(request)).run_id or "")

    async def rename(self, request: Request) -> Response:
        """POST {job}/name: RUNID in any phase; an empty one takes it away."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            if form.word("RUNID") is None:
                raise UsageError("Post RUNID=name here; an empty one takes it away.")
            run_id = run_id_of(form)
        await self.service.upkeep.rename(name, job_id, call.caller, run_id or None)
        return see_other(job_urls(call, name).job(job_id))

    async def extend(self, request: Request) -> Response:
        """POST {job}/extend: DAYS more than now."""
        call = call_of(request)
        name, job_id = JobPath.of(request)
        async with self._small_form(request, job_id) as form:
            days = form.word("DAYS") or ""
        if not (days.isascii() and days.isdigit() and 1 <= int(days[:9]) <= MAX_DAYS):
            raise UsageError(f"Post DAYS here, a number from 1 to {MAX_DAYS}: by how many the job is kept longer.")
        await self.service.upkeep.extend(name, job_id, call.caller, int(days) * DAY_MS)
        return see_other(job_urls(call, name).job(job_id))

    async def download(self, request: Request) -> Response:
        """GET {job}/download: all results as a zip or tar archive."""
        job = await self._job(request)
        form = (query_value(query_values(request), "FORMAT") or "zip").lower()
        if form not in FORMS:
            raise UsageError(f"FORMAT={form[:20]!r} is not possible; possible: {', '.join(FORMS)}.")
        chunks, media_type = FORMS[form]
        entries = self._entries(job)
        for result in job.results:
            if not result.location and await self.backend.depot.head(result.key) is None:
                raise NotFound(f"The result {result.id!r} is no longer there.")
        headers = {
            **NO_STORE,
            "content-type": media_type,
            "content-disposition": f'attachment; filename="{job.id}.{form}"',
            "content-security-policy": "sandbox; default-src 'none'",
        }
        if request.method == "HEAD":
            return Response(headers=headers)
        return StreamingResponse(chunks(entries), headers=headers)

    def _entries(self, job: Job) -> list[Entry]:
        """Return the files of the archive.

        Results that are elsewhere are listed in one of them.
        """
        stored = [result for result in job.results if not result.location]
        if not job.results:
            raise NotFound("The job has no results.")
        changed = job.ended or job.created
        names = distinct([safe_name(result.id, result.media_type) for result in stored])
        folder = job.id
        entries = [
            Entry(f"{folder}/{name}", result.size, changed, partial(self._read, result.key))
            for name, result in zip(names, stored, strict=True)
        ]
        moved = [f"{result.id} {result.location}\n" for result in job.results if result.location]
        if moved:
            text = "".join(moved).encode(errors="replace")
            name = distinct([*names, "elsewhere.txt"])[-1]
            entries.append(Entry(f"{folder}/{name}", len(text), changed, partial(_text, text)))
        return entries

    async def _read(self, key: str) -> AsyncIterator[bytes]:
        async for chunk in self.backend.depot.read(key):
            yield bytes(chunk)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/{job_id}/name": Resource(
            "name",
            Policy.READ,
            Policy.WRITE,
            get=(name, "The job's name (RUNID); empty without one."),
            post=(rename, "`RUNID=name` in any phase; 303 to `{job}`."),
        ),
        "/{job_id}/extend": Resource(
            "extend",
            Policy.WRITE,
            post=(extend, "`DAYS=number` keeps it longer, cut to what the application allows; 303 to `{job}`."),
        ),
        "/{job_id}/download": Resource(
            "download", Policy.READ, get=(download, "All results in one archive: `FORMAT=zip` (default) or `tar`.")
        ),
    }


async def _text(text: bytes) -> AsyncIterator[bytes]:
    yield text
