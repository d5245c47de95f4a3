"""The parts of one running service.

They are made from its settings, started and stopped in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from uws_service import telemetry
from uws_service.applications import Application
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.encryption import key_in
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Rules
from uws_service.auth.tokens import Tokens
from uws_service.configuration import applications_of, caller_catalogues, resolve_groups, wants_data
from uws_service.data.catalogues import Catalogues
from uws_service.depot import Depot, renewal
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.domain.ids import now_ms
from uws_service.placement.placer import Placer
from uws_service.service.backend import Backend, FetchRules
from uws_service.service.jobs import Service
from uws_service.service.lookups import DataLookups
from uws_service.service.reaper import Reaper
from uws_service.service.sessions import Sessions
from uws_service.service.uploads import Uploads
from uws_service.settings import Settings
from uws_service.sites.agent_api import Agents
from uws_service.sites.attempt_tokens import SECRET, AttemptTokens
from uws_service.sites.controller import Controller
from uws_service.sites.executor import Executor
from uws_service.sites.kinds import SiteParts, kind_of, open_sites, start_on_machine, verifiers_of
from uws_service.sites.lake import Lake
from uws_service.sites.lease import FolderLease, Leader, Lease, ProcessLease
from uws_service.sites.moves import AbsentSites
from uws_service.sites.network import Network
from uws_service.store import Store
from uws_service.store.reserve import Reserve
from uws_service.tap import Queries
from uws_service.tap.descriptor import catalogue_of
from uws_service.web.app import App

log = structlog.get_logger(__name__)

CHECK_SECONDS = 5.0
"""How long the answer of a health check is used again."""
CHECK_TIMEOUT_SECONDS = 10.0
LATE_SECONDS = 30.0
"""A controller whose last round ended longer ago is late."""


@dataclass(slots=True)
class Runtime:
    """The parts of a running service."""

    settings: Settings
    applications: Mapping[str, Application]
    store: Store
    depot: Depot
    placer: Placer
    service: Service
    executors: Mapping[str, Executor]
    agents: Agents
    uploads: Uploads
    rules: Rules
    catalogues: Catalogues
    """Of data sets."""
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
        """Return what does not work now, one sentence each.

        Really tried, at most every few seconds (V-020).
        """
        at, problems = self._checked
        if time.monotonic() - at > CHECK_SECONDS or problems:
            problems = []
            for part, check in (("database", self.store.ping()), ("depot", self.depot.check())):
                try:
                    await asyncio.wait_for(check, CHECK_TIMEOUT_SECONDS)
                except (UwsError, TimeoutError) as error:
                    answer = getattr(error, "message", f"no answer in {CHECK_TIMEOUT_SECONDS:.0f} s")
                    problems.append(f"{part}: {answer}")
            problems += self._late_controllers()
            self._checked = (time.monotonic(), problems)
        return [*problems, *(["The service is shutting down."] if self.draining else [])]

    def _late_controllers(self) -> list[str]:
        problems = []
        for leader in self.leaders:
            if leader.decided and not leader.leading:
                continue
            controller = leader.controller
            site = controller.executor.site
            lag = time.monotonic() - controller.last_round if controller.last_round is not None else None
            telemetry.CONTROLLER_LAG.labels(site).set(lag if lag is not None else -1)
            if lag is None or lag > LATE_SECONDS:
                since = "has not begun" if lag is None else f"finished its last round {lag:.0f} s ago"
                problems.append(f"site {site}: its controller {since}.")
        return problems

    def remarks(self) -> list[str]:
        """Return what an operator should know although this process works; no names of machines."""
        return [
            f"site {leader.executor.site}: another process drives it."
            for leader in self.leaders
            if leader.decided and not leader.leading
        ]

    async def live_log(self, attempt: Attempt, name: str) -> bytes | None:
        """Return the end of a running attempt's log, if its site can be asked from here."""
        executor = self.executors.get(attempt.site)
        return await executor.read_log(attempt.job_id, attempt.number, name) if executor is not None else None

    def site_details(self, site: str, job_id: str, number: int) -> Mapping[str, str]:
        """Return where an attempt runs, in words of its site."""
        configured = next((item for item in self.settings.sites if item.name == site), None)
        return configured.details(job_id, number) if configured is not None else {}

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
            srcnet_broker=self.settings.srcnet_broker,
            site_details=self.site_details,
        )

    def drain(self) -> None:
        """Answer every waiting request now.

        The process is about to end (C-26).
        """
        self.draining = True
        self.service.waiters.drain()


@dataclass(frozen=True, slots=True)
class Loop:
    """Work in the background while the service runs."""

    name: str
    make: Callable[[Runtime], Iterable[Coroutine[Any, Any, None]]]
    """Make the work, once for each thing to look after; nothing if these settings have no need of it."""
    controllers_only: bool = False
    """Whether it belongs to processes that drive sites and clean up, not to those that only answer requests."""


LOOPS = (
    Loop("depot", lambda runtime: [runtime.depot.watch()]),
    Loop("data access", lambda runtime: [runtime.data.run()] if runtime.data is not None else []),
    Loop("look-ups", lambda runtime: [_lookups(runtime).run()]),
    Loop("sites", lambda runtime: [leader.run() for leader in runtime.leaders], controllers_only=True),
    Loop(
        "absent sites",
        lambda runtime: [AbsentSites(runtime.store, runtime.placer, runtime.applications).run()],
        controllers_only=True,
    ),
    Loop("reaper", lambda runtime: [_reaper(runtime).run()], controllers_only=True),
)
"""The loops of the service, in the order in which they start; they end in the opposite one."""


@asynccontextmanager
async def running(settings: Settings, *, clock: Callable[[], float] = time.time) -> AsyncIterator[Runtime]:
    """Open the parts, run the loops, close all.

    Jobs at the sites go on running.

    ``clock`` gives the present instant in seconds to all that looks at callers; the sites have their own.
    """
    telemetry.configure_logging(settings.log_format, settings.log_level)
    applications = applications_of(settings)
    settings = resolve_groups(settings, applications)
    if settings.database is None or settings.depot is None:
        make_data_folder(settings.data)
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(settings.database_url, create=settings.migrate_at_start)
        stack.push_async_callback(store.close)
        store.attempts.half_life_ms = settings.placement.shares.half_life * 1000.0
        await store.feed.start()
        stack.push_async_callback(store.feed.stop)
        runtime = await _assemble(settings, applications, store, clock, stack)
        if settings.controller:
            await _prepare_sites(runtime, stack)
        for loop in LOOPS:
            if settings.controller or not loop.controllers_only:
                for work in loop.make(runtime):
                    stack.callback(work.close)  # one that ends before its first step would be complained about
                    stack.push_async_callback(_stop, asyncio.create_task(_run_loop(loop.name, work)))
        log.info("service is up", applications=sorted(applications), sites=[site.name for site in settings.sites])
        yield runtime
        log.info("service stops")


async def _assemble(
    settings: Settings,
    applications: Mapping[str, Application],
    store: Store,
    clock: Callable[[], float],
    stack: contextlib.AsyncExitStack,
) -> Runtime:
    """Make the parts.

    Each knows those that it needs; nothing runs yet.
    """

    def now() -> int:
        return int(clock() * 1000)

    depot = Depot.open(settings.depot_url)
    depot.renewal = renewal(settings.orphan_age)
    near = [site.name for site in settings.sites if not kind_of(site).leased]
    placer = Placer(store, settings.sites, near, settings.placement)
    rules = Rules(settings.auth)
    user_tokens = Tokens(settings.auth, rank=rules.ranked, clock=clock) if settings.auth.issuers else None
    if user_tokens is not None:
        stack.push_async_callback(user_tokens.close)
    permissions = _permissions(settings, stack)
    data = _data_access(settings, applications, user_tokens, store, now)
    service = Service(
        store,
        applications,
        placer,
        rules=rules,
        data=data,
        clock=now,
        limits=settings.limits,
        reserve=_reserve(settings),
        containers=settings.containers,
    )
    executors, agents = await _open_sites(settings, applications, store, depot, data, stack)
    cookie_key = await store.access.secret("cookies") if user_tokens is not None else b""
    return Runtime(
        settings,
        applications,
        store,
        depot,
        placer,
        service,
        executors,
        agents,
        Uploads(depot, store, rules, settings.limits),
        rules,
        await _catalogues(settings, stack),
        sessions=Sessions(store.access, cookie_key, service.clock, rules.issuers) if user_tokens is not None else None,
        cookie_key=cookie_key,
        user_tokens=user_tokens,
        permissions=permissions,
        queries=await _queries(settings, applications, stack),
        data=data,
        up_since=now_ms(),
    )


def _permissions(settings: Settings, stack: contextlib.AsyncExitStack) -> PermissionsApi | None:
    """Return SRCNet's Permissions API, if the settings ask it."""
    if settings.auth.permissions is None:
        return None
    permissions = PermissionsApi(settings.auth.permissions)
    stack.push_async_callback(permissions.close)
    return permissions


def _reserve(settings: Settings) -> Reserve | None:
    """Return room on the disk of the embedded database; None: the database is elsewhere."""
    if settings.database is not None:
        return None
    reserve = Reserve(settings.data)
    reserve.hold()
    return reserve


async def _open_sites(
    settings: Settings,
    applications: Mapping[str, Application],
    store: Store,
    depot: Depot,
    data: DataAccess | None,
    stack: contextlib.AsyncExitStack,
) -> tuple[dict[str, Executor], Agents]:
    """Return the sites' executors, and the agents' part."""
    tokens = AttemptTokens(await store.access.secret(SECRET), now_ms)
    parts = SiteParts(depot, settings.work_folder, await store.name(), settings.fetch, data, tokens.issue)
    executors = open_sites(settings.sites, parts)
    for executor in executors.values():
        stack.push_async_callback(executor.close)
    verifiers = verifiers_of(executors, settings.sites)
    storage = {site.name: site.storage_areas() for site in settings.sites}
    return executors, Agents(store, depot, applications, settings.fetch, data, verifiers, tokens, storage)


async def _catalogues(settings: Settings, stack: contextlib.AsyncExitStack) -> Catalogues:
    """Return the catalogues of data; a static one that is wrong stops the start."""
    catalogues = Catalogues(settings.datasets)
    stack.push_async_callback(catalogues.close)
    await catalogues.start()
    return catalogues


def _lake(runtime: Runtime) -> Lake | None:
    """Return what takes results for the data lake, if the settings name a catalogue that registers them."""
    name = runtime.settings.datasets.results
    if name is None:
        return None
    catalogue = next(entry for entry in runtime.catalogues.catalogues if entry.name == name)
    storage = {site.name: site.storage_areas() for site in runtime.settings.sites}
    return Lake(catalogue, runtime.depot, storage, runtime.data)


def _lookups(runtime: Runtime) -> DataLookups:
    takes_data = any(
        parameter.dataset for application in runtime.applications.values() for parameter in application.parameters
    )
    return DataLookups(
        runtime.store,
        runtime.catalogues,
        runtime.applications,
        runtime.placer,
        runtime.data,
        clock=runtime.service.clock,
        is_idle=not takes_data,
    )


def _reaper(runtime: Runtime) -> Reaper:
    settings = runtime.settings
    return Reaper(
        runtime.store,
        runtime.depot,
        runtime.applications,
        interval=settings.reap_interval,
        orphan_interval=settings.orphan_interval,
        orphan_age=settings.orphan_age,
        event_retention=settings.event_retention,
        reserve=runtime.service.reserve,
    )


async def _queries(
    settings: Settings, applications: Mapping[str, Application], stack: contextlib.AsyncExitStack
) -> dict[str, Queries]:
    """Return the tables of each TAP application, ready to be queried."""
    prepared = {}
    for name, application in applications.items():
        if (catalogue := catalogue_of(application)) is not None:
            folder = settings.work_folder / "queries" / name
            queries = Queries(catalogue, folder, settings.query_processes)
            await asyncio.to_thread(queries.prepare)
            stack.push_async_callback(queries.close)
            prepared[name] = queries
    return prepared


def make_data_folder(folder: Path) -> None:
    """Make the data folder, for the service's user alone.

    One that was open to others is closed.
    """
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
    """Return the jobs' access to data.

    None unless the settings or an application ask for it.
    """
    if tokens is None or not wants_data(settings, applications):
        return None
    if settings.auth.sealing_key is not None:
        key = settings.auth.sealing_key.get_secret_value().encode()
    else:
        make_data_folder(settings.data)
        key = key_in(settings.data / "sealing.key")
    return DataAccess(settings.auth, tokens, store, key, clock, caller_catalogues(settings))


async def _prepare_sites(runtime: Runtime, stack: contextlib.AsyncExitStack) -> None:
    """Make the leader of each site.

    Who holds its lease drives it.

    A local site's lease belongs to the work folder of its jobs, which is opened here.
    """
    network = Network(runtime.store, runtime.placer)
    lake = _lake(runtime)
    if lake is not None:
        stack.push_async_callback(lake.close)
    for site in runtime.settings.sites:
        executor = runtime.executors[site.name]
        lease: Lease = ProcessLease(runtime.store, site.name)
        if not kind_of(site).leased:
            folder = await start_on_machine(site, executor)
            stack.push_async_callback(executor.stop)
            lease = FolderLease(runtime.store, site.name, folder, site.absence.lost / 1000)
        controller = Controller(
            runtime.store,
            executor,
            runtime.applications,
            network,
            absence=site.absence,
            data=runtime.data,
            notice=runtime.depot.notice,
            lake=lake,
        )
        runtime.leaders.append(Leader(lease, executor, controller, is_started=not kind_of(site).leased))


async def _run_loop(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run a loop that must not end.

    If it does, the log has it, and a controller's readiness probe turns red.
    """
    try:
        await work
    except Exception:
        log.exception("a loop of the service ended", loop=name)


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
