"""Provenance of jobs and of what came before or after them, with the parameters of OPUS (P-030, P-031)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from uws_service.auth.policy import Policy
from uws_service.domain.errors import NotFound, UsageError, UwsError
from uws_service.offload import offload
from uws_service.protocol import dali
from uws_service.protocol.provenance import Detail, Graph, JobRecord, add_job, prov_json, prov_n
from uws_service.service.backend import Backend
from uws_service.service.records import MAX_JOBS, Reach, Records
from uws_service.web.call import call_of
from uws_service.web.faces.base import VOTABLE
from uws_service.web.job_handlers import query_value, query_values
from uws_service.web.provenance import FORMATS, chosen_format
from uws_service.web.replies import NO_STORE, job_weight
from uws_service.web.resource import ErrorBody, Resource

JOB_PROVENANCE = "/{application}/async/{job_id}/provenance"
"""The resource of one job that tells the same."""
MAX_IDS = 20
MAX_DEPTH = 20
_FORMATS = {name: FORMATS[name] for name in ("PROV-JSON", "PROV-N")}
_JOB = re.compile(r"(?:service:|/)?([^/?#]+)/async/([0-9a-f]{32})(?:/.*)?")
_ID = re.compile(r"[0-9a-f]{32}")
_WORDS = frozenset(
    "ID DEPTH DIRECTION MODEL AGENTS MEMBERS DESCRIPTIONS CONFIGURATION RESPONSEFORMAT MAXREC RUNID REQUEST".split()
)


class ProvSap:
    """The handler of ``/provsap``."""

    def __init__(self, backend: Backend) -> None:
        self.service = backend.service
        self.records = Records(backend.service)

    async def answer(self, request: Request) -> Response:
        """GET /provsap: a graph of the jobs that the caller may read, and of no others."""
        call = call_of(request)
        query = query_values(request)
        if unknown := sorted(set(query) - _WORDS):
            raise UsageError(f"{unknown[0][:40]} is no parameter here; there are: {', '.join(sorted(_WORDS))}.")
        starts = await self._starts(query.get("ID", []), call.base)
        reach = Reach(_depth(query_value(query, "DEPTH")), _word(query, "DIRECTION", "BACK", "FORWARD") == "BACK")
        _word(query, "MODEL", "W3C")
        descriptions = _word(query, "DESCRIPTIONS", "2", "0", "1")
        detail = Detail(
            agents=_word(query, "AGENTS", "1", "0") == "1",
            members=_word(query, "MEMBERS", "1", "0") == "1",
            descriptions=int(descriptions),
            configuration=_word(query, "CONFIGURATION", "1", "0") == "1",
        )
        form = chosen_format(query, request.headers.get("accept"), _FORMATS)
        gate = call.gate
        assert gate is not None, "the gate has admitted the request"

        async def check(application: str, job_id: str) -> None:
            await self.service.glance(application, job_id, call.caller)
            values = {"application": application, "job_id": job_id}
            await gate.require_also(request.scope, Policy.READ, JOB_PROVENANCE, "GET", values)

        records: dict[str, JobRecord] = {}
        for start in starts:
            for record in await self.records.around(start, call.caller, reach, call.base, check):
                records.setdefault(record.job.id, record)
        chosen = list(records.values())[:MAX_JOBS]
        weight = sum(job_weight(record.job) for record in chosen)
        body = await offload(weight, _document, chosen, call.base, detail, form)
        return Response(body, 200, {**NO_STORE, "vary": "accept"}, FORMATS[form])

    async def _starts(self, ids: Sequence[str], base: str) -> list[tuple[str, str]]:
        """Return application and id of the jobs that are asked for: by id, by URL, or by the URL of what they have."""
        if not ids:
            raise UsageError("ID is required: the id or URL of a job, or of one of its results.")
        if len(ids) > MAX_IDS:
            raise UsageError(f"ID was given {len(ids)} times; at most {MAX_IDS} are taken.")
        return [await self._start(text.strip(), base) for text in dict.fromkeys(ids)]

    async def _start(self, text: str, base: str) -> tuple[str, str]:
        match = _JOB.fullmatch(text.removeprefix(base))
        if match is not None:
            return match[1], match[2]
        if _ID.fullmatch(text):
            application = await self.service.views.application_of(text)
            if application is None:
                raise NotFound(f"There is no job {text!r}.")
            return application, text
        raise UsageError(f"ID={text[:80]!r} is neither the id of a job nor a URL of a job below {base}.")

    def error_form(self, error: UwsError, request: Request) -> ErrorBody:
        """Return an error as VOTable (D-045)."""
        return ErrorBody(dali.error_votable(error.message, error.detail), VOTABLE)

    RESOURCES: ClassVar[Mapping[str, Resource]] = {
        "/provsap": Resource(
            "provsap",
            Policy.OPEN,
            error_form=error_form,
            get=(
                answer,
                "The provenance of jobs (`ID`, repeatable) and of `DEPTH` (0 … 20 or `ALL`) steps `DIRECTION=BACK` or "
                "`FORWARD`, as far as the caller may read those jobs. OPUS's `AGENTS`, `MEMBERS`, `DESCRIPTIONS`, "
                "`CONFIGURATION`, `MODEL=W3C` and `RESPONSEFORMAT` choose what is told.",
            ),
        ),
    }


def _document(records: Sequence[JobRecord], base: str, detail: Detail, form: str) -> bytes:
    graph = Graph(base)
    for record in records:
        add_job(graph, record, detail)
    return prov_n(graph) if form == "PROV-N" else prov_json(graph)


def _depth(text: str | None) -> int:
    """Return DEPTH; as in OPUS it is 1 if it is not given."""
    if text is None or text == "":
        return 1
    if text.upper() == "ALL":
        return MAX_DEPTH
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise UsageError(f"DEPTH={text[:40]!r} is neither a whole number nor ALL.")
    return min(int(text), MAX_DEPTH)


def _word(query: dict[str, list[str]], name: str, usual: str, *others: str) -> str:
    """Return the value of a parameter with a few words, the first one by default."""
    text = query_value(query, name)
    if not text:
        return usual
    if text.upper() not in (usual, *others):
        raise UsageError(f"{name}={text[:40]!r} is not possible; possible: {', '.join(sorted((usual, *others)))}.")
    return text.upper()
