"""Do jobs anew from their records, and compare what they gave (at services of this kind)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from uws_service.client.documents import JobDocument
from uws_service.client.errors import BadDocument
from uws_service.client.uws import UwsClient, job_url_of


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """What a job's record says of a result.

    ``size`` in bytes, ``sha256`` in lower-case hex.
    """

    id: str
    size: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """Whether a job can be done anew, in the server's words."""

    job: str
    possible: bool
    missing: tuple[str, ...]
    differences: tuple[str, ...]
    remarks: tuple[str, ...]
    results: tuple[RecordedResult, ...]
    versions: Mapping[str, str]


class Verdict(StrEnum):
    """How a result compares with that of the earlier job."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"
    NEW = "new"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Compared:
    """A result of two jobs."""

    id: str
    verdict: Verdict
    before: str = ""
    after: str = ""


def rerun_plan(client: UwsClient, job: str) -> RerunPlan:
    """Return what the server says of doing a job anew.

    Raises
    ------
    BadDocument
        The server is of another kind: it answers with no such document.
    """
    answer = client.http.get(f"{job.rstrip('/')}/rerun")
    try:
        content = json.loads(answer.body)
        return RerunPlan(
            job=str(content["job"]),
            possible=content["possible"] is True,
            missing=_texts(content["missing"]),
            differences=_texts(content["differences"]),
            remarks=_texts(content["remarks"]),
            results=tuple(_result(item) for item in content["results"]),
            versions={str(name): str(version) for name, version in content["versions"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadDocument(f"{answer.url} is no plan of a rerun; is it a job of a uws-service?") from None


def rerun(client: UwsClient, job: str, *, run: bool = False, accept: bool = False) -> str:
    """Make a job anew.

    Return the URL of the new one.

    ``accept`` takes what is no longer as it was, such as another version of the application.
    """
    fields = [*([("PHASE", "RUN")] if run else []), *([("DIFFERENCES", "accept")] if accept else [])]
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Idempotency-Key": str(uuid.uuid4())}
    return job_url_of(client.http.send("POST", f"{job.rstrip('/')}/rerun", content=urlencode(fields), headers=headers))


def compare(before: Sequence[RecordedResult], after: JobDocument) -> list[Compared]:
    """Return how the results of a job compare with recorded ones, by their SHA-256."""
    digests = {result.id: result.sha256 or "" for result in after.results}
    compared = []
    for result in before:
        digest = digests.pop(result.id, None)
        if digest is None:
            compared.append(Compared(result.id, Verdict.MISSING, result.sha256))
        elif not (digest and result.sha256):
            compared.append(Compared(result.id, Verdict.UNKNOWN, result.sha256, digest))
        else:
            verdict = Verdict.SAME if digest == result.sha256 else Verdict.DIFFERENT
            compared.append(Compared(result.id, verdict, result.sha256, digest))
    return [*compared, *(Compared(name, Verdict.NEW, "", digest) for name, digest in digests.items())]


def is_reproduced(compared: Sequence[Compared]) -> bool:
    """Return whether there are results, and all of them are the same."""
    return bool(compared) and all(item.verdict is Verdict.SAME for item in compared)


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _result(item: Mapping[str, Any]) -> RecordedResult:
    size = item.get("size")
    return RecordedResult(str(item["id"]), size if isinstance(size, int) else None, str(item.get("sha256") or ""))
