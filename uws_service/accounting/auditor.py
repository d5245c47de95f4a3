"""Records for AUDITOR: JSON over HTTP (ACC-050…ACC-058).

A record that the server has already is no error, so a push may be repeated. AUDITOR takes no corrections: what was
pushed stays as it was then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2

from uws_service.accounting.identities import Outside, plain
from uws_service.domain.errors import ServiceUnavailable
from uws_service.domain.usage_record import MIB, UsageRecord

NAME_CHARACTERS = 256
TIMEOUT_SECONDS = 30.0
EXISTS = "RECORD_EXISTS"
HTTP_OK = 200


def record_id(record: UsageRecord, outside: Outside) -> str:
    """Return the id of a record, the same at each push (ACC-057)."""
    return f"{outside.host.replace(':', '-')}-{record.id}"


def record_json(record: UsageRecord, outside: Outside) -> dict[str, Any]:
    """Return an attempt as AUDITOR takes it (ACC-050)."""
    assert record.started is not None
    scores = [{"name": record.benchmark, "value": record.benchmark_value}] if record.benchmark else []
    components = {
        "Cores": record.processors,
        "MilliCores": round(record.cores * 1000),
        "TotalCPU": record.cpu_s,
        "NNodes": 1,
        "Memory": record.memory // MIB,
        "PeakMemory": record.peak_memory // MIB,
        "MiBIn": record.bytes_in // MIB,
        "MiBOut": record.bytes_out // MIB,
        "MiBMoved": record.bytes_moved // MIB,
        "GPUs": record.gpus,
    }
    if record.energy_mwh is not None:
        components["EnergyWh"] = round(record.energy_mwh / 1000)
    if record.co2e_ug is not None:
        components["gCO2e"] = round(record.co2e_ug / 1e6)
    return {
        "record_id": record_id(record, outside),
        "meta": _meta(record, outside),
        "components": [
            {"name": name, "amount": max(0, amount), "scores": scores if name == "Cores" else []}
            for name, amount in components.items()
        ],
        "start_time": _instant(record.started),
        "stop_time": _instant(max(record.started, record.ended)),
    }


def _meta(record: UsageRecord, outside: Outside) -> dict[str, list[str]]:
    """Return the names by which AUDITOR's APEL plug-in finds site, user and organisation (ACC-056)."""
    organisation = outside.organisation(record.group)
    values = {
        "site_id": outside.site(record.site).name,
        "site": record.site,
        "headnode": outside.submit_host(record.application),
        "application": record.application,
        "subject": outside.user(record.owner),
        "voms": organisation.fqan or (f"/{organisation.vo}" if organisation.vo else ""),
        "project": record.project,
        "outcome": record.reason or "Completed",
    }
    return {name: [plain(value)[:NAME_CHARACTERS]] for name, value in values.items() if value}


def _instant(milliseconds: int) -> str:
    """Return an instant in UTC with its zone (ACC-053)."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat().replace("+00:00", "Z")


class Auditor:
    """A client of one server."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def push(self, records: Sequence[UsageRecord], outside: Outside) -> int:
        """Push records; return how many were new.

        Raises
        ------
        ServiceUnavailable
            The server can't be reached, or refuses them.
        """
        documents = [record_json(record, outside) for record in records if record.is_job]
        if not documents:
            return 0
        answer = await self._post("records", documents)
        if answer.status_code == HTTP_OK:
            return len(documents)
        if EXISTS not in answer.text:
            raise self._refused(answer)
        fresh = 0
        for document in documents:  # one that is known fails all of them (ACC-055)
            answer = await self._post("record", document)
            if answer.status_code == HTTP_OK:
                fresh += 1
            elif EXISTS not in answer.text:
                raise self._refused(answer)
        return fresh

    async def _post(self, path: str, document: Any) -> httpx2.Response:
        try:
            return await self._http.post(f"{self.url}/{path}", json=document)
        except httpx2.HTTPError as error:
            raise ServiceUnavailable(f"AUDITOR at {self.url} can't be reached: {error}.", retry_after=60) from None

    def _refused(self, answer: httpx2.Response) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"AUDITOR at {self.url} answers {answer.status_code}: {answer.text[:200]!r}.", retry_after=60
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
