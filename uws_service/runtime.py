"""The parts of one running service, put together from its settings, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from uws_service import telemetry
from uws_service.applications import Application, load_applications
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.encryption import key_in
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Rules
from uws_service.auth.tokens import Tokens
from uws_service.depot import Depot, renewal
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.domain.ids import now_ms
from uws_service.placement.placer import Placer
from uws_service.service.backend import Backend, FetchRules
from uws_service.service.jobs import Service
from uws_service.service.reaper import Reaper
from uws_service.service.sessions import Sessions
from uws_service.service.uploads import Uploads
from uws_service.settings import Settings
from uws_service.sites.agent_api import Agents
from uws_service.sites.attempt_tokens import SECRET, AttemptTokens
from uws_service.sites.controller import Controller
from uws_service.sites.executor import Executor
from uws_service.sites.kinds import SiteParts, kind_of, open_sites, verifiers_of
from uws_service.sites.lease import FolderLease, Leader, Lease, ProcessLease
from uws_service.store import Store
from uws_service.store.reserve import Reserve
from uws_service.tap import Queries, located
from uws_service.web.app import App

log = structlog.get_logger(__name__)

RESERVED = frozenset({"static", "metrics", "livez", "readyz", "agent", "login", "logout"})
"""Names that no application can have: the service's own resources have them."""
CHECK_SECONDS = 5.0
"""How long the answer of a health check is used again."""


@dataclass(slots=True)
class Runtime:
    """The parts of a running service."""

    settings: Settings
    applications: Mapping[str, Application]
    store: Store
    depot: Depot
    service: Service
    executors: Mapping[str, Executor]
    agents: Agents
    uploads: Uploads
    rules: Rules
    sessions: Sessions | None = None
    """None: nobody can log in."""
    cookie_key: bytes = b""
    user_tokens: Tokens | None = None
    """None: there is no issuer, and no token is looked at."""
    permissions: PermissionsApi | None = None
    queries: Mapping[str, Queries] = field(default_factory=dict)
    """The TAP applications' tables and warm processes, by name."""
    data: DataAccess | None = None
    """None: no job gets a token for what it fetches."""
    leaders: list[Leader] = field(default_factory=list)
    up_since: int = 0
    draining: bool = False
    _checked: tuple[float, list[str]] = (0.0, [])

    async def problems(self) -> list[str]:
        """What does not work now, one sentence each; really tried, at most every few seconds (V-020)."""
        at, found = self._checked
        if time.monotonic() - at > CHECK_SECONDS or found:
            found = []
            for part, check in (("database", self.store.ping()), ("depot", self.depot.check())):
                try:
                    await asyncio.wait_for(check, 10)
                except (UwsError, TimeoutError) as error:
                    found.append(f"{part}: {getattr(error, 'message', 'no answer in 10 s')}")
            found += self._late_controllers()
            self._checked = (time.monotonic(), found)
        return [*found, *(["The service is shutting down."] if self.draining else [])]

    def _late_controllers(self) -> list[str]:
        late = []
        for leader in self.leaders:
            if leader.decided and not leader.leading:
                continue
            controller = leader.controller
            site = controller.executor.site
            lag = time.monotonic() - controller.last_round if controller.last_round is not None else None
            telemetry.CONTROLLER_LAG.labels(site).set(lag if lag is not None else -1)
            if lag is None or lag > 30:
                since = "has not begun" if lag is None else f"finished its last round {lag:.0f} s ago"
                late.append(f"site {site}: its controller {since}.")
        return late

    def remarks(self) -> list[str]:
        """What an operator should know although this process works; no names of machines."""
        return [
            f"site {leader.executor.site}: another process drives it."
            for leader in self.leaders
            if leader.decided and not leader.leading
        ]

    async def live_log(self, attempt: Attempt, name: str) -> bytes | None:
        """The end of a running attempt's log, if its site can be asked from here."""
        executor = self.executors.get(attempt.site)
        return await executor.read_log(attempt.job_id, attempt.number, name) if executor is not None else None

    def backend(self) -> Backend:
        """Return what the web may see of all this."""
        fetch = self.settings.fetch
        return Backend(
            service=self.service,
            applications=self.applications,
            depot=self.depot,
            uploads=self.uploads,
            agents=self.agents,
            rules=self.rules,
            auth=self.settings.auth,
            limits=self.settings.limits,
            fetch=FetchRules(fetch.allow_private, fetch.allow_hosts, fetch.timeout),
            live_log=self.live_log,
            problems=self.problems,
            remarks=self.remarks,
            drain=self.drain,
            up_since=self.up_since,
            cookie_key=self.cookie_key,
            sessions=self.sessions,
            user_tokens=self.user_tokens,
            permissions=self.permissions,
            queries=self.queries,
            cors_origins=self.settings.cors_origins,
        )

    def drain(self) -> None:
        """Answer every waiting request now: the process is about to end (C-26)."""
        self.draining = True
        self.service.drain()


def applications_of(settings: Settings) -> dict[str, Application]:
    """The declared applications; wrong ones stop the start with file, line and field."""
    applications = load_applications(settings.applications, builtin=settings.builtin_applications)
    if not applications:
        raise ConfigurationError("No application is declared; name files or folders in `applications`.")
    applications = {name: located(one, settings.catalogue_folder) for name, one in applications.items()}
    for name in RESERVED & applications.keys():
        raise ConfigurationError(f"An application can't be called {name!r}: the service uses that path itself.")
    for name in settings.auth.applications.keys() - applications.keys():
        raise ConfigurationError(
            f"settings: auth.applications: there is no application {name!r}; there are: {', '.join(applications)}"
        )
    if (
        _wants_data(settings, applications)
        and settings.auth.sealing_key is None
        and not settings.database_url.startswith("sqlite")
    ):
        raise ConfigurationError(
            "settings: auth.sealing_key is missing: jobs get tokens for data, and with PostgreSQL all processes need "
            "the same key to encrypt them; give 32 characters or more"
        )
    return applications


def _wants_data(settings: Settings, applications: Mapping[str, Application]) -> bool:
    """Whether any job may get a token for what it fetches."""
    asked = settings.auth.data_access or any(one.data_token is not None for one in applications.values())
    return bool(settings.auth.issuers and asked)


@asynccontextmanager
async def running(settings: Settings, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Runtime]:
    """Open the parts, run the loops, and close all in reverse; jobs at the sites go on running.

    ``clock`` gives the present instant in seconds to all that looks at callers; the sites have their own.
    """

    def now() -> int:
        return int(clock() * 1000)

    telemetry.configure_logging(settings.log_format, settings.log_level)
    applications = applications_of(settings)
    if settings.database is None or settings.depot is None:
        make_data_folder(settings.data)
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(settings.database_url, create=settings.migrate_at_start)
        stack.push_async_callback(store.close)
        await store.feed.start()
        stack.push_async_callback(store.feed.stop)
        depot = Depot.open(settings.depot_url)
        depot.renewal = renewal(settings.orphan_age)
        stack.push_async_callback(_stop, asyncio.create_task(_always(depot.watch())))
        reserve = None
        if settings.database is None:
            reserve = Reserve(settings.data)
            reserve.hold()
        near = [site.name for site in settings.sites if not kind_of(site).leased]
        placer = Placer(store, settings.sites, near)
        rules = Rules(settings.auth)
        user_tokens = Tokens(settings.auth, rank=rules.ranked, clock=clock) if settings.auth.issuers else None
        if user_tokens is not None:
            stack.push_async_callback(user_tokens.close)
        data = _data_access(settings, applications, user_tokens, store, now)
        service = Service(store, applications, placer, rules=rules, data=data, clock=now, limits=settings.limits)
        service.reserve = reserve
        permissions = PermissionsApi(settings.auth.permissions) if settings.auth.permissions is not None else None
        if permissions is not None:
            stack.push_async_callback(permissions.close)
        tokens = AttemptTokens(await store.access.secret(SECRET), now_ms)
        parts = SiteParts(depot, settings.work_folder, await store.name(), settings.fetch, data, tokens.issue)
        executors = open_sites(settings.sites, parts)
        for executor in executors.values():
            stack.push_async_callback(executor.close)
        agents = Agents(
            store, depot, applications, settings.fetch, data, verifiers_of(executors, settings.sites), tokens
        )
        runtime = Runtime(
            settings,
            applications,
            store,
            depot,
            service,
            executors,
            agents,
            Uploads(depot, store, rules, settings.limits.unfinished),
            rules,
            user_tokens=user_tokens,
            permissions=permissions,
            queries=await _queries(settings, applications, stack),
            data=data,
            up_since=now_ms(),
        )
        if user_tokens is not None:
            runtime.cookie_key = await store.access.secret("cookies")
            runtime.sessions = Sessions(store.access, runtime.cookie_key, service.clock)
        if data is not None:
            stack.push_async_callback(_stop, asyncio.create_task(_always(data.run())))
        if settings.controller:
            await _drive_sites(runtime, placer, stack)
            reaper = Reaper(
                store,
                depot,
                applications,
                interval=settings.reap_interval,
                orphan_interval=settings.orphan_interval,
                orphan_age=settings.orphan_age,
                event_retention=settings.event_retention,
                reserve=reserve,
            )
            stack.push_async_callback(_stop, asyncio.create_task(reaper.run()))
        log.info("service is up", applications=sorted(applications), sites=[site.name for site in settings.sites])
        yield runtime
        log.info("service stops")


async def _queries(
    settings: Settings, applications: Mapping[str, Application], stack: contextlib.AsyncExitStack
) -> dict[str, Queries]:
    """The tables of each TAP application, ready to be asked."""
    found = {}
    for name, one in applications.items():
        if one.catalogue is not None:
            queries = Queries(one.catalogue, settings.work_folder / "queries" / name, settings.query_processes)
            await asyncio.to_thread(queries.prepare)
            stack.push_async_callback(queries.close)
            found[name] = queries
    return found


def make_data_folder(folder: Path) -> None:
    """Make the data folder, for the service's user alone; one that was open to others is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entry = folder.stat()
        if entry.st_mode & 0o077 and entry.st_uid == os.geteuid():
            folder.chmod(0o700)
            log.warning("the data folder was open to others; it is closed now", folder=str(folder))
    except OSError as error:
        raise ConfigurationError(f"settings: data: {folder}: {error.strerror or error}") from None


def _data_access(
    settings: Settings,
    applications: Mapping[str, Application],
    tokens: Tokens | None,
    store: Store,
    clock: Callable[[], int],
) -> DataAccess | None:
    """Access to data for jobs, if the settings or an application ask for it."""
    if tokens is None or not _wants_data(settings, applications):
        return None
    if settings.auth.sealing_key is not None:
        key = settings.auth.sealing_key.get_secret_value().encode()
    else:
        make_data_folder(settings.data)
        key = key_in(settings.data / "sealing.key")
    return DataAccess(settings.auth, tokens, store, key, clock)


async def _drive_sites(runtime: Runtime, placer: Placer, stack: contextlib.AsyncExitStack) -> None:
    """Whoever holds a site's lease drives it; a local site's lease belongs to the work folder of its jobs."""
    for site in runtime.settings.sites:
        executor = runtime.executors[site.name]
        lease: Lease = ProcessLease(runtime.store, site.name)
        if not kind_of(site).leased:
            await executor.start()
            stack.push_async_callback(executor.stop)
            assert executor.identity is not None, f"a started site of the kind {site.kind} has a work folder"
            lease = FolderLease(runtime.store, site.name, executor.identity, site.absence.lost / 1000)
        controller = Controller(
            runtime.store,
            executor,
            runtime.applications,
            placer,
            absence=site.absence,
            data=runtime.data,
            notice=runtime.depot.notice,
        )
        leader = Leader(lease, executor, controller, is_started=not kind_of(site).leased)
        runtime.leaders.append(leader)
        stack.push_async_callback(_stop, asyncio.create_task(_always(leader.run())))


async def _always(work: Coroutine[Any, Any, None]) -> None:
    """A loop that must not end: its end is in the log, and the readiness probe turns red."""
    try:
        await work
    except Exception:
        log.exception("a controller ended")


def create_app(settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> App:
    """Return the service as an ASGI application.

    ``clock`` gives the present instant in seconds since the epoch, for callers' tokens, sessions and requests.
    """
    settings = settings if settings is not None else Settings.load()

    @asynccontextmanager
    async def open_backend() -> AsyncIterator[Backend]:
        async with running(settings, clock=clock) as runtime:
            yield runtime.backend()

    return App(settings, open_backend)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
