"""What a client posts: its files and its control words (U-122…).

Nothing of a request that is refused is left behind: its files are removed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request as HttpRequest

from uws_service.applications.parameters import single_value
from uws_service.domain.errors import UsageError, UwsError
from uws_service.domain.job import Parameter
from uws_service.protocol.uws import parse_duration, parse_instant
from uws_service.service.files import FilesHold
from uws_service.service.limits import Limits
from uws_service.service.requests import Request
from uws_service.service.uploads import Uploads
from uws_service.web.call import call_of
from uws_service.web.forms import PATIENCE_SECONDS, DepotSink, FilePart, FormLimits, read_form

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = r"[a-z0-9!#$%&'*+.^_`|~-]{1,127}"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?")
"""RFC 9110 §8.3.1; some clients leave out the subtype."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A form: values in order, and files in the depot."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[Parameter, ...] = ()
    digests: tuple[str, ...] = ()
    digests_by_key: Mapping[str, str] = field(default_factory=dict)
    """The same by the files' keys in the depot."""

    @property
    def weight(self) -> int:
        """Return the bytes of all values, roughly."""
        return sum(len(value) for _, value in self.fields)

    def word(self, name: str) -> str | None:
        """Return the only value of a control word (D-020, D-021).

        Its case does not matter.
        """
        values = [value for key, value in self.fields if key.upper() == name]
        return single_value(name, values) if values else None


@asynccontextmanager
async def posted(
    request: HttpRequest, uploads: Uploads, limits: Limits, job_id: str, *, leave_out_empty: bool = False
) -> AsyncIterator[Posted]:
    """Yield the posted form and the query.

    Its files are in the depot under the job, unless the block fails.

    ``leave_out_empty``: a page's form sends the fields that its user left empty too; they count as not given.
    """
    keys: list[str] = []
    depot, call = uploads.depot, call_of(request)
    hold: FilesHold | None = None

    with uploads.account(call.identity, call.origin) as account:

        def open_file(number: int) -> DepotSink:
            nonlocal hold
            if hold is None:  # however long the form is open, nobody takes its files for orphans
                hold = depot.hold(f"jobs/{job_id}/uploads/{secrets.token_hex(6)}")
                hold.begin()
            keys.append(f"{hold.prefix}-{number}")
            return DepotSink(depot, keys[-1], limits.upload, account.spend)

        try:
            form = await read_form(
                request.headers, request.stream(), limits=_form_limits(limits), open_file=open_file, hold=account.hold
            )
            pairs = [pair for pair in form.fields if pair[1] or not leave_out_empty]
            fields = [*request.query_params.multi_items(), *pairs]
            # A browser sends an empty part for each file that was not chosen.
            parts = [
                (part, key) for part, key in zip(form.files, keys, strict=True) if part.filename or part.stored.size
            ]
            _check_names([name for name, _ in fields], [part.name for part, _ in parts])
            files = tuple(_file(part, key) for part, key in parts)
            for key in set(keys) - {key for _, key in parts}:
                await depot.delete_prefix(key)
            digests = {key: part.stored.sha256 for part, key in parts}
            yield Posted(tuple(fields), files, tuple(digests.values()), digests)
        except Exception:  # a cancelled request may already be recorded; the search for orphans sees to its files
            for key in keys:
                with contextlib.suppress(UwsError, TimeoutError):
                    await asyncio.wait_for(depot.delete_prefix(key), PATIENCE_SECONDS)
            raise
        finally:
            if hold is not None:
                await hold.release()


def _form_limits(limits: Limits) -> FormLimits:
    """Return what a form with the parameters of a job may hold."""
    return FormLimits(
        body=limits.body,
        fields=limits.parameters,
        field_size=limits.value,
        files=limits.files,
        file_size=limits.upload,
        text=limits.text,
    )


def _file(part: FilePart, key: str) -> Parameter:
    if part.media_type is not None and not _MEDIA_TYPE.fullmatch(part.media_type):
        raise UsageError(
            f"The Content-Type of the file {part.name!r} is no media type: {part.media_type[:80]!r}; "
            "write one such as text/csv, or leave it out."
        )
    return Parameter(
        name=part.name,
        value=_CONTROL.sub("", part.filename)[:255],
        upload=key,
        media_type=part.media_type,
        size=part.stored.size,
    )


def _check_names(fields: Sequence[str], files: Sequence[str]) -> None:
    """Check that names fit into URLs (files) and XML (all)."""
    for name in fields:
        if not name or len(name) > 256 or _CONTROL.search(name):
            raise UsageError("A parameter's name must have 1 to 256 characters and no control characters.")
        if name.upper() == "ACCESS_TOKEN":  # it would be stored and shown with the job
            raise UsageError("A token is no parameter; send it in the Authorization header.")
    file_names: set[str] = set()
    field_names = {name.upper() for name in fields}
    for name in files:
        if not _FILE_NAME.fullmatch(name):
            raise UsageError(
                f"The name of a file part, {name[:64]!r}, must be made of letters, digits, '.', '_' and '-'."
            )
        if name.upper() in file_names or name.upper() in field_names:
            raise UsageError(f"The name {name!r} is used by a file and by another parameter.")
        file_names.add(name.upper())


def idempotency_key(request: HttpRequest) -> str | None:
    """Return the key of a request that may be repeated."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise UsageError("Idempotency-Key must have 1 to 255 printable characters.")
    return key


def run_id_of(form: Posted) -> str | None:
    """RUNID, which is written into logs (D-027)."""
    run_id = form.word("RUNID")
    if run_id is not None and len(run_id) > 64:
        raise UsageError("RUNID must have at most 64 characters.")
    if run_id is not None and _CONTROL.search(run_id):
        raise UsageError("RUNID must have no control characters.")
    return run_id


def job_request(form: Posted, *, creating: bool = True, run: bool | None = None) -> Request:
    """Return a form as a request for a job.

    Parameters
    ----------
    creating
        False where control words are not taken (U-123, D-012).
    run
        Whether the job starts at once; None: as PHASE says.
    """
    control = ("PHASE", "DESTRUCTION", "EXECUTIONDURATION", "RUNID") if creating else ("RUNID",)
    phase = form.word("PHASE") if creating and run is None else None
    if phase is not None and phase.upper() != "RUN":
        raise UsageError(f"PHASE={phase[:32]!r} is not possible when a job is made; possible: RUN.")
    run_id = run_id_of(form)
    duration, destruction = (form.word("EXECUTIONDURATION"), form.word("DESTRUCTION")) if creating else (None, None)
    values = [Parameter(name, value) for name, value in form.fields if name.upper() not in control]
    return Request(
        parameters=(*values, *form.files),
        run=phase is not None if run is None else run,
        run_id=run_id,
        duration=parse_duration(duration) if duration is not None else None,
        destruction=parse_instant(destruction) if destruction is not None else None,
        digests=form.digests_by_key,
    )


async def disconnected(request: HttpRequest) -> None:
    """Return when the client has closed the connection."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
