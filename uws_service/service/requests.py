"""Requests to create or change a job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from uws_service.applications import Application
from uws_service.domain.errors import TooLarge, UsageError
from uws_service.domain.job import Parameter
from uws_service.domain.record import Original
from uws_service.service.limits import Limits


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request about a job (U-123)."""

    parameters: tuple[Parameter, ...] = ()
    run: bool = False
    run_id: str | None = None
    duration: int | None = None
    destruction: int | None = None
    client_id: str = ""
    """The id by which its client calls the job, where a face has such ids."""
    notices: tuple[str, ...] = ()
    """What the face has to say about the request."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of uploaded files, by their keys in the depot."""
    original: Original | None = None
    """The job that is done anew."""


def fingerprint(request: Request, digests: Sequence[str]) -> str:
    """Return the digest of request and files.

    The same Idempotency-Key may come again with this digest alone.
    """
    digest = hashlib.sha256()
    for parameter in request.parameters:
        digest.update(repr((parameter.name, parameter.value, parameter.upload is not None)).encode())
    digest.update(repr((request.run, request.run_id, request.duration, request.destruction, tuple(digests))).encode())
    return digest.hexdigest()


def merge(application: Application, old: Sequence[Parameter], new: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return parameters after a POST to ``{job}/parameters`` (D-011, D-014).

    A name that may be repeated gains values; for any other name the new values take the place of the old ones.
    """
    repeated = {spec.name.upper() for spec in application.parameters if spec.repeated} | {"UPLOAD"}
    replaced = {parameter.name.upper() for parameter in new} - repeated
    return (*(parameter for parameter in old if parameter.name.upper() not in replaced), *new)


def require_fitting(parameters: Sequence[Parameter], limits: Limits) -> None:
    """Refuse more parameters than a job may have.

    Several requests may have sent them.
    """
    if len(parameters) > limits.parameters + limits.files:
        raise UsageError(f"A job has at most {limits.parameters} parameters.")
    if sum(len(parameter.value.encode(errors="replace")) for parameter in parameters) > limits.text:
        raise TooLarge(f"The values of a job's parameters have at most {limits.text} bytes together; send files.")
