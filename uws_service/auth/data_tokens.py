"""Access to data for jobs: tokens for the hosts that their inputs are at, kept encrypted, renewed, handed to agents.

The caller's token is exchanged when the job is started. What comes back is in the database only, under a key that is
not there, until the job ends. If the issuer gives no refresh token, the caller's own token is kept beside it in the
same way, since nothing else could renew it while the job waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from uws_service.agent.fetch import authority
from uws_service.applications import Application
from uws_service.auth import Identity
from uws_service.auth.encryption import lock, unlock
from uws_service.auth.exchange import Granted, exchange, refresh
from uws_service.auth.settings import Auth
from uws_service.auth.tokens import Tokens
from uws_service.domain.attempt import Input
from uws_service.domain.errors import Forbidden, ServiceUnavailable, UwsError
from uws_service.domain.events import EventKind
from uws_service.domain.job import Job, Phase
from uws_service.store import StaleJob, Store
from uws_service.store.grants import Grant

log = structlog.get_logger(__name__)

COMMAND = "command"
"""The target of the token that the command itself is given."""
AHEAD = 120.0
"""A token is renewed so many seconds before it ends, or when three quarters of its time are over."""
USABLE = 5.0
"""One that ends in fewer seconds is not handed over."""
ASKING = 60.0
"""Seconds after which somebody who was renewing a token is taken for dead."""
AGAIN = 10.0
TICK = 5.0
NEVER = 2**62


class DataAccess:
    """Exchanges, keeps, renews and hands over.

    Parameters
    ----------
    key
        What tokens are encrypted with.
    clock
        The present instant in milliseconds.
    """

    def __init__(self, settings: Auth, tokens: Tokens, store: Store, key: bytes, clock: Callable[[], int]) -> None:
        self.settings = settings
        self._tokens = tokens
        self._store = store
        self._key = key
        self._clock = clock

    async def obtain(
        self, job: Job, application: Application, inputs: Sequence[Input], identity: Identity, token: str | None
    ) -> tuple[Grant, ...]:
        """Tokens for all that the job will fetch; none if the caller sent no token, or is not the job's owner.

        Whoever may start another's job, such as an administrator, must not lend it what only they may read.

        Raises
        ------
        ServiceUnavailable
            The issuer can't be asked now.
        Forbidden
            It says no; or the command itself wants a token and there is none to exchange.
        """
        able = token is not None and identity.owner is not None and identity.owner == job.owner
        spec = application.data_token
        if spec is not None and not able:
            raise Forbidden(
                f"The application {application.name!r} needs access to data; its owner must start the job, with a "
                "token in the Authorization header."
            )
        if token is None or not able:
            return ()
        wanted = {authority(one.url) for one in inputs if one.url}
        grants = []
        for index, one in enumerate(self.settings.data_access):
            hosts = [host for host in one.hosts if host in wanted]
            if hosts and (one.issuer is None or one.issuer.rstrip("/") == identity.issuer.rstrip("/")):
                about = {"hosts": hosts, "audience": one.audience, "scopes": one.scopes}
                grants.append(await self._obtain(job.id, str(index), about, identity.issuer, token))
        if spec is not None:
            about = {"hosts": [], "audience": spec.audience, "scopes": spec.scopes}
            grants.append(await self._obtain(job.id, COMMAND, about, identity.issuer, token))
        return tuple(grants)

    async def _obtain(self, job_id: str, target: str, about: dict[str, Any], issuer: str, token: str) -> Grant:
        known = self._tokens.issuers.get(issuer.rstrip("/"))
        if known is None or known.settings.client_id is None:
            raise Forbidden(f"The issuer of the token gives no access to data at {about['audience']!r}.")
        granted = await exchange(self._tokens, known, token, about["audience"], tuple(about["scopes"]))
        return self._locked(Grant(job_id, target, "", 0, 0), {**about, "issuer": issuer, "subject": token}, granted)

    def _locked(self, grant: Grant, content: dict[str, Any], granted: Granted) -> Grant:
        """The grant with a new token; the caller's own one goes as soon as there is a better way to renew it."""
        renewal = granted.refresh or content.get("refresh")
        content = {**content, "access": granted.access, "refresh": renewal}
        if renewal:
            content.pop("subject", None)
        now = self._clock()
        return replace(
            grant,
            locked=lock(self._key, f"{grant.job_id} {grant.target}", json.dumps(content)),
            expires=now + int(granted.seconds * 1000),
            renew=now + int(max(granted.seconds - AHEAD, granted.seconds * 0.75) * 1000),
            busy=0,
        )

    def _content(self, grant: Grant) -> dict[str, Any]:
        text = unlock(self._key, f"{grant.job_id} {grant.target}", grant.locked)
        if text is None:
            raise Forbidden("The job's access to data can't be read: the service's key has changed. Run the job again.")
        content: dict[str, Any] = json.loads(text)
        return content

    async def held(self, job_id: str) -> dict[str, Any]:
        """What an agent is handed: ``tokens`` by host, and the ``command``'s own token or None; good for a while.

        Raises
        ------
        ServiceUnavailable
            A token has ended, and the issuer can't be asked now for a new one.
        Forbidden
            There is no new one.
        """
        tokens: dict[str, str] = {}
        command = None
        allowed = {host for one in self.settings.data_access for host in one.hosts}
        for grant in await self._store.grants.of(job_id):
            fresh = await self._renewed(grant) if grant.renew <= self._clock() else grant
            content = self._content(fresh)
            if fresh.expires < self._clock() + USABLE * 1000:
                raise Forbidden(
                    f"The access to data at {content['audience']!r} ended while the job waited, and could not be "
                    "renewed. Run the job again."
                )
            if fresh.target == COMMAND:
                command = content["access"]
            tokens |= {host: content["access"] for host in content["hosts"] if host in allowed}
        return {"tokens": tokens, "command": command}

    async def _renewed(self, grant: Grant) -> Grant:
        """A newer token; the old one as long as it is good and there is none."""
        now = self._clock()
        good = grant.expires >= now + USABLE * 1000
        if not await self._store.grants.take(grant, now, now + int(ASKING * 1000)):
            if good:
                return grant
            raise ServiceUnavailable("The job's access to data has ended and is being renewed.", retry_after=2)
        content = self._content(grant)
        issuer = self._tokens.issuers.get(content["issuer"].rstrip("/"))
        try:
            if issuer is None:
                raise Forbidden(f"Tokens of {content['issuer']} are no longer taken.")
            about = content["audience"], tuple(content["scopes"])
            if content.get("refresh"):
                granted = await refresh(self._tokens, issuer, content["refresh"], *about)
            else:
                granted = await exchange(self._tokens, issuer, content["subject"], *about)
        except UwsError as error:
            passes = isinstance(error, ServiceUnavailable)
            log.warning("access to data can't be renewed", job=grant.job_id, reason=error.message)
            after = replace(grant, busy=now + int(AGAIN * 1000)) if passes else replace(grant, renew=NEVER, busy=0)
            await self._store.grants.put(grant, after)
            if good or not passes:
                return after
            raise
        after = self._locked(grant, content, granted)
        await self._store.grants.put(grant, after)
        return after

    async def run(self) -> None:
        """Renew what is about to end, for as long as the service is up."""
        while True:
            try:
                for grant in await self._store.grants.due(self._clock()):
                    try:
                        await self._renewed(grant)
                    except UwsError as error:
                        log.info("access to data waits", job=grant.job_id, reason=error.message)
            except UwsError as error:
                log.warning("access to data can't be looked after", error=error.message)
            await asyncio.sleep(TICK)


async def tell_waiting(store: Store, job_id: str, reason: str, *, begun: bool = False) -> None:
    """Put into jobInfo why a job does not begin, or has not ended yet; in vain if the job has moved on."""
    job = await store.get(job_id)
    if job is None or (job.phase is Phase.QUEUED) == begun or job.info.waiting == reason:
        return
    with contextlib.suppress(StaleJob):
        info = replace(job.info, waiting=reason)
        await store.save(job, replace(job, info=info), kind=EventKind.INFO, actor="controller")
