"""Tokens with which jobs fetch their inputs.

The caller's token is exchanged when the job is started. The result is stored encrypted in the database, with a key that
is not there, until the job ends. If the issuer gives no refresh token, the caller's own token is stored beside it in
the same way, since nothing else could renew it while the job waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
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

CATALOGUE = "catalogue:"
"""What the target of a token for a catalogue of data begins with; its name follows."""
COMMAND = "command"
"""The target of the token for the command itself."""
RENEW_BEFORE_SECONDS = 120.0
"""A token is renewed so long before it expires, or when three quarters of its time are over."""
MIN_USABLE_SECONDS = 5.0
"""A token that expires sooner is not handed over."""
RENEWAL_SECONDS = 60.0
"""A process that has not renewed a token after this time counts as dead."""
RETRY_SECONDS = 10.0
ROUND_SECONDS = 5.0
NO_RENEWAL_MS = 2**62


class DataAccess:
    """Exchanges, stores, renews and hands over tokens.

    Parameters
    ----------
    key
        What tokens are encrypted with.
    clock
        The present instant in milliseconds.
    catalogues
        Audience and scopes of the tokens for catalogues that are asked in the callers' names, by their names.
    """

    def __init__(
        self,
        settings: Auth,
        tokens: Tokens,
        store: Store,
        key: bytes,
        clock: Callable[[], int],
        catalogues: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
    ) -> None:
        self.settings = settings
        self.catalogues = catalogues or {}
        self._tokens = tokens
        self._store = store
        self._key = key
        self._clock = clock

    async def obtain(
        self,
        job: Job,
        application: Application,
        inputs: Sequence[Input],
        identity: Identity,
        token: str | None,
        *,
        has_data: bool = False,
    ) -> tuple[Grant, ...]:
        """Return tokens for all that the job will fetch.

        With ``has_data`` it has data sets: where their files are is not known yet, so there are tokens for all
        catalogues and hosts to which the issuer gives access.

        There are none if the caller sent no token or is not the job's owner: an administrator who starts another's job
        must not lend it what only they may read.

        Raises
        ------
        ServiceUnavailable
            The issuer can't be asked now.
        Forbidden
            It says no; or the command itself wants a token and there is none to exchange.
        """
        may_exchange = token is not None and identity.owner is not None and identity.owner == job.owner
        spec = application.data_token
        if spec is not None and not may_exchange:
            raise Forbidden(
                f"The application {application.name!r} needs access to data; its owner must start the job, with a "
                "token in the Authorization header."
            )
        if token is None or not may_exchange:
            return ()
        input_hosts = {authority(entry.url) for entry in inputs if entry.url}
        grants = []
        for index, access in enumerate(self.settings.data_access):
            named = [host for host in access.hosts if host in input_hosts]
            hosts = list(access.hosts) if has_data else named
            if hosts and (access.issuer is None or access.issuer.rstrip("/") == identity.issuer.rstrip("/")):
                about = {"hosts": hosts, "audience": access.audience, "scopes": access.scopes}
                with contextlib.nullcontext() if named else contextlib.suppress(Forbidden):
                    grants.append(await self._obtain(job.id, str(index), about, identity.issuer, token))
        for name, (audience, scopes) in self.catalogues.items() if has_data else ():
            about = {"hosts": [], "audience": audience, "scopes": scopes}
            try:
                grants.append(await self._obtain(job.id, f"{CATALOGUE}{name}", about, identity.issuer, token))
            except Forbidden as error:  # the catalogue is passed over; if the job needs it, its error says so
                log.info("no token for a catalogue", job=job.id, catalogue=name, reason=error.message)
        if spec is not None:
            about = {"hosts": [], "audience": spec.audience, "scopes": spec.scopes}
            grants.append(await self._obtain(job.id, COMMAND, about, identity.issuer, token))
        return tuple(grants)

    async def _obtain(self, job_id: str, target: str, about: dict[str, Any], issuer: str, token: str) -> Grant:
        keys = self._tokens.issuers.get(issuer.rstrip("/"))
        if keys is None or keys.settings.client_id is None:
            raise Forbidden(f"The issuer of the token gives no access to data at {about['audience']!r}.")
        granted = await exchange(self._tokens, keys, token, about["audience"], tuple(about["scopes"]))
        return self._locked(Grant(job_id, target, "", 0, 0), {**about, "issuer": issuer, "subject": token}, granted)

    def _locked(self, grant: Grant, content: dict[str, Any], granted: Granted) -> Grant:
        """Return the grant with a new token.

        The caller's own token is dropped as soon as a refresh token can replace it.
        """
        renewal = granted.refresh or content.get("refresh")
        content = {**content, "access": granted.access, "refresh": renewal}
        if renewal:
            content.pop("subject", None)
        now = self._clock()
        return replace(
            grant,
            locked=lock(self._key, f"{grant.job_id} {grant.target}", json.dumps(content)),
            expires=now + int(granted.seconds * 1000),
            renew=now + int(max(granted.seconds - RENEW_BEFORE_SECONDS, granted.seconds * 0.75) * 1000),
            busy=0,
        )

    def _content(self, grant: Grant) -> dict[str, Any]:
        text = unlock(self._key, f"{grant.job_id} {grant.target}", grant.locked)
        if text is None:
            raise Forbidden("The job's access to data can't be read: the service's key has changed. Run the job again.")
        content: dict[str, Any] = json.loads(text)
        return content

    async def held(self, job_id: str) -> dict[str, Any]:
        """Return what an agent gets, with usable tokens.

        These are ``tokens`` by host, and the ``command``'s own token or None.

        Raises
        ------
        ServiceUnavailable
            A token has ended, and the issuer can't be asked now for a new one.
        Forbidden
            There is no new one.
        """
        tokens: dict[str, str] = {}
        command = None
        allowed = {host for access in self.settings.data_access for host in access.hosts}
        for grant in await self._store.grants.of(job_id):
            if grant.target.startswith(CATALOGUE):
                continue
            fresh = await self._renewed(grant) if grant.renew <= self._clock() else grant
            content = self._content(fresh)
            if fresh.expires < self._clock() + MIN_USABLE_SECONDS * 1000:
                raise Forbidden(
                    f"The access to data at {content['audience']!r} ended while the job waited, and could not be "
                    "renewed. Run the job again."
                )
            if fresh.target == COMMAND:
                command = content["access"]
            tokens |= {host: content["access"] for host in content["hosts"] if host in allowed}
        return {"tokens": tokens, "command": command}

    async def catalogue_tokens(self, job_id: str) -> dict[str, str]:
        """Return the usable tokens for catalogues, by their names; raise `ServiceUnavailable`."""
        tokens = {}
        for grant in await self._store.grants.of(job_id):
            if grant.target.startswith(CATALOGUE):
                fresh = await self._renewed(grant) if grant.renew <= self._clock() else grant
                if fresh.expires >= self._clock() + MIN_USABLE_SECONDS * 1000:
                    tokens[grant.target.removeprefix(CATALOGUE)] = self._content(fresh)["access"]
        return tokens

    async def _renewed(self, grant: Grant) -> Grant:
        """Renew a grant.

        Return the old one while it is good and no new one comes.
        """
        now = self._clock()
        good = grant.expires >= now + MIN_USABLE_SECONDS * 1000
        if not await self._store.grants.take(grant, now, now + int(RENEWAL_SECONDS * 1000)):
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
            is_temporary = isinstance(error, ServiceUnavailable)
            log.warning("access to data can't be renewed", job=grant.job_id, reason=error.message)
            after = (
                replace(grant, busy=now + int(RETRY_SECONDS * 1000))
                if is_temporary
                else replace(grant, renew=NO_RENEWAL_MS, busy=0)
            )
            await self._store.grants.put(grant, after)
            if good or not is_temporary:
                return after
            raise
        after = self._locked(grant, content, granted)
        await self._store.grants.put(grant, after)
        return after

    async def run(self) -> None:
        """Renew grants before they expire, forever."""
        while True:
            try:
                for grant in await self._store.grants.due(self._clock()):
                    try:
                        await self._renewed(grant)
                    except UwsError as error:
                        log.info("access to data waits", job=grant.job_id, reason=error.message)
            except UwsError as error:
                log.warning("access to data can't be looked after", error=error.message)
            await asyncio.sleep(ROUND_SECONDS)


async def tell_waiting(store: Store, job_id: str, reason: str, *, begun: bool = False) -> None:
    """Write into jobInfo why a job waits.

    Nothing is written if the job has moved on meanwhile. With ``begun`` the job runs and waits for its end.
    """
    job = await store.get(job_id)
    if job is None or (job.phase is Phase.QUEUED) == begun or job.info.waiting == reason:
        return
    with contextlib.suppress(StaleJob):
        info = replace(job.info, waiting=reason)
        await store.save(job, replace(job, info=info), kind=EventKind.INFO, actor="controller")
