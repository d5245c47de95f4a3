"""New jobs from earlier ones: with their parameters and copies of their files, and some of them changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from uws_service.applications import Application
from uws_service.domain.errors import Conflict
from uws_service.domain.job import Job, Parameter
from uws_service.service.caller import Caller
from uws_service.service.jobs import Service
from uws_service.service.requests import Request
from uws_service.service.uploads import Account, Uploads

_PART = re.compile(r"param:([\w.-]+)")


def changed(
    parameters: Sequence[Parameter],
    changes: Sequence[Parameter],
    application: Application,
    without: frozenset[str] = frozenset(),
) -> tuple[Parameter, ...]:
    """Return an earlier job's parameters with changes.

    What is given replaces all values of its name; an empty value takes them away, as ``without`` does. A file that
    nothing refers to any more is left out.
    """
    replaced = {change.name.upper() for change in changes} | {name.upper() for name in without}
    unchanged = [parameter for parameter in parameters if parameter.name.upper() not in replaced]
    merged = [*unchanged, *(change for change in changes if change.value or change.upload is not None)]
    values = " ".join(parameter.value for parameter in merged if parameter.upload is None)
    parts = {part.upper() for part in _PART.findall(values)}
    declared = {spec.name.upper() for spec in application.parameters}
    before = {parameter.upload for parameter in parameters if parameter.upload is not None}

    def is_needed(parameter: Parameter) -> bool:
        return parameter.upload not in before or parameter.name.upper() in parts | declared

    return tuple(parameter for parameter in merged if parameter.upload is None or is_needed(parameter))


class Copies:
    """Makes jobs from earlier ones."""

    def __init__(self, service: Service, uploads: Uploads) -> None:
        self.service = service
        self.uploads = uploads

    async def create(
        self,
        earlier: Job,
        application: Application,
        caller: Caller,
        request: Request,
        job_id: str,
        *,
        idempotency: tuple[str, str] | None = None,
    ) -> tuple[Job, bool]:
        """Make a job whose request names files of an earlier one; return it and whether it is new.

        They are copied: each job has files of its own.

        Raises
        ------
        Conflict
            A file of the earlier job is no longer there.
        """
        self.service.rules.require_use(application, caller.identity)
        hold = self.uploads.depot.hold(f"jobs/{job_id}/uploads/{secrets.token_hex(6)}")
        hold.begin()
        with self.uploads.account(caller.identity, caller.origin) as account:
            try:
                parameters, digests = await copied_uploads(
                    self.uploads, earlier, request.parameters, hold.prefix, account
                )
                request = replace(request, parameters=parameters, digests={**request.digests, **digests})
                return await self.service.create(application, caller, request, job_id=job_id, idempotency=idempotency)
            except Exception:
                await self.uploads.depot.delete_prefix(f"jobs/{job_id}/")
                raise
            finally:
                await hold.release()


async def copied_uploads(
    uploads: Uploads, earlier: Job, parameters: Sequence[Parameter], prefix: str, account: Account
) -> tuple[tuple[Parameter, ...], dict[str, str]]:
    """Return parameters with copies of an earlier job's uploads, and the copies' digests by key.

    Raises
    ------
    Conflict
        An upload is gone, or is not what it was.
    """
    before = {parameter.upload for parameter in earlier.parameters if parameter.upload is not None}
    copies: list[Parameter] = []
    digests: dict[str, str] = {}
    for number, parameter in enumerate(parameters):
        if parameter.upload is None or parameter.upload not in before:
            copies.append(parameter)
            continue
        if await uploads.depot.head(parameter.upload) is None:
            raise Conflict(f"The file {parameter.value or parameter.name!r} of {parameter.name} is no longer there.")
        key = f"{prefix}-{number}"
        chunks = _counted(uploads.depot.read(parameter.upload), account)
        stored = await uploads.depot.put(key, chunks, max_size=parameter.size or 0)
        if earlier.info.digests.get(parameter.upload, stored.sha256) != stored.sha256:
            raise Conflict(f"The uploaded file of {parameter.name} is not what it was: its SHA-256 is another.")
        digests[key] = stored.sha256
        copies.append(replace(parameter, upload=key))
    return tuple(copies), digests


async def _counted(chunks: AsyncIterator[bytes], account: Account) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        await account.spend(len(chunk))
        yield chunk
