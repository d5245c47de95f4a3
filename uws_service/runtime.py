"""One running service: its parts are put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from uws_service import parts, telemetry
from uws_service.accounting.identities import PSEUDONYMS, Pseudonyms
from uws_service.accounting.publisher import AccountLoop, Publisher
from uws_service.applications import Application
from uws_service.applications.changes import changes_of
from uws_service.auth.data_tokens import DataAccess
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Rules
from uws_service.auth.tokens import Tokens
from uws_service.configuration import applications_of, meter, outside_of, resolve_groups
from uws_service.data.catalogues import Catalogues
from uws_service.depot import Depot
from uws_service.domain.attempt import Attempt
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.domain.ids import now_ms
from uws_service.domain.usage_record import month_of
from uws_service.placement.placer import Placer
from uws_service.service.accounts import Accounts
from uws_service.service.backend import Backend, FetchRules
from uws_service.service.capabilities import CapabilitiesPoll
from uws_service.service.deliveries import Deliveries
from uws_service.service.jobs import Service
from uws_service.service.lookups import DataLookups
from uws_service.service.mailer import Mailer
from uws_service.service.notifications import Notices
from uws_service.service.reaper import Reaper
from uws_service.service.sessions import Sessions
from uws_service.service.uploads import Uploads
from uws_service.settings import Settings
from uws_service.sites.agent_api import Agents
from uws_service.sites.controller import Controller
from uws_service.sites.executor import Executor
from uws_service.sites.kinds import desks_of, kind_of, start_on_machine
from uws_service.sites.lake import Lake
from uws_service.sites.lease import FolderLease, Leader, Lease, ProcessLease
from uws_service.sites.moves import AbsentSites
from uws_service.sites.network import Network
from uws_service.sites.remote.desk import Runners
from uws_service.store import Store
from uws_service.tap import Queries
from uws_service.viewer import Viewers
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
    applications: dict[str, Application]
    """All parts have this one mapping, which `reload` changes."""
    store: Store
    depot: Depot
    placer: Placer
    service: Service
    executors: Mapping[str, Executor]
    agents: Agents
    runners: Runners
    uploads: Uploads
    rules: Rules
    catalogues: Catalogues
    """Of data sets."""
    pseudonyms: Pseudonyms
    """Hide owners in accounts."""
    notices: Notices
    """Subscriptions of callers."""
    sessions: Sessions | None = None
    """None: nobody can log in."""
    cookie_key: bytes = b""
    user_tokens: Tokens | None = None
    """None: there is no issuer, and no token is looked at."""
    permissions: PermissionsApi | None = None
    queries: Mapping[str, Queries] = field(default_factory=dict)
    """The TAP applications' tables and warm processes, by name."""
    viewers: Viewers | None = None
    data: DataAccess | None = None
    """None: no job gets a token for what it fetches."""
    leaders: list[Leader] = field(default_factory=list)
    up_since: int = 0
    described_since: int = 0
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
            runners=self.runners,
            rules=self.rules,
            auth=self.settings.auth,
            limits=self.settings.limits,
            accounts=Accounts(self.store, self.rules, self.settings.accounting, self.pseudonyms),
            fetch=FetchRules(fetch.allow_private, fetch.allow_hosts, fetch.timeout),
            live_log=self.live_log,
            problems=self.problems,
            remarks=self.remarks,
            drain=self.drain,
            reload=self.reload,
            described_since=lambda: self.described_since,
            up_since=self.up_since,
            cookie_key=self.cookie_key,
            sessions=self.sessions,
            user_tokens=self.user_tokens,
            permissions=self.permissions,
            notices=self.notices,
            queries=self.queries,
            viewers=self.viewers,
            presentation=self.settings.presentation,
            publishing=self.settings.provenance,
            public_network=self.settings.public_network,
            cors_origins=self.settings.cors_origins,
            srcnet_broker=self.settings.srcnet_broker,
            site_details=self.site_details,
        )

    async def reload(self) -> None:
        """Read the descriptors again: new jobs run by the new ones.

        Attempts keep what they were made with. If anything is wrong, all stays as it is, and the log says why.
        """
        try:
            applications = await asyncio.to_thread(applications_of, self.settings)
        except ConfigurationError as error:
            log.error("the applications stay as they are", problem=error.message)
            return
        changes = changes_of(self.applications, applications)
        for name in changes.removed:
            del self.applications[name]
        self.applications.update(changes.current)
        self.described_since = now_ms()
        log.info("applications were read again", added=changes.added, changed=changes.changed, removed=changes.removed)
        if changes.postponed:
            log.warning("applications need a restart for what has changed in them", applications=changes.postponed)

    def drain(self) -> None:
        """Answer every waiting request now.

        The process is about to end (C-26).
        """
        self.draining = True
        self.service.waiters.drain()
        self.service.streams.drain()
        self.runners.drain()


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
    Loop("site capabilities", lambda runtime: _capabilities(runtime)),
    Loop("look-ups", lambda runtime: [_lookups(runtime).run()]),
    Loop("sites", lambda runtime: [leader.run() for leader in runtime.leaders], controllers_only=True),
    Loop(
        "absent sites",
        lambda runtime: [AbsentSites(runtime.store, runtime.placer, runtime.applications).run()],
        controllers_only=True,
    ),
    Loop("accounts", lambda runtime: [_accounts(runtime).run()], controllers_only=True),
    Loop("notices", lambda runtime: [_deliveries(runtime).run()], controllers_only=True),
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
        parts.make_data_folder(settings.data)
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(settings.database_url, create=settings.migrate_at_start)
        stack.push_async_callback(store.close)
        store.attempts.half_life_ms = settings.placement.shares.half_life * 1000.0
        await store.feed.start()
        stack.push_async_callback(store.feed.stop)
        store.attempts.meter = meter(settings)
        await store.usage.declare_methods(store.attempts.meter.methods())
        await store.usage.prepare_partitions(month_of(now_ms()))
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
    applications: dict[str, Application],
    store: Store,
    clock: Callable[[], float],
    stack: contextlib.AsyncExitStack,
) -> Runtime:
    """Make the parts; nothing runs yet."""

    def now() -> int:
        return int(clock() * 1000)

    depot = parts.open_depot(settings)
    near = [site.name for site in settings.sites if not kind_of(site).leased]
    placer = Placer(store, settings.sites, near, settings.placement)
    rules = Rules(settings.auth)
    user_tokens = parts.open_user_tokens(settings, rules, clock, stack)
    data = parts.make_data_access(settings, applications, user_tokens, store, now)
    service = Service(
        store,
        applications,
        placer,
        rules=rules,
        data=data,
        clock=now,
        limits=settings.limits,
        reserve=parts.hold_reserve(settings),
        containers=settings.containers,
        meter=store.attempts.meter,
    )
    executors, agents = await parts.open_executors(settings, applications, store, depot, data, stack)
    cookie_key = await store.access.secret("cookies") if user_tokens is not None else b""
    sessions = Sessions(store.access, cookie_key, service.clock, rules.issuers) if user_tokens is not None else None
    return Runtime(
        settings,
        applications,
        store,
        depot,
        placer,
        service,
        executors,
        agents,
        Runners(desks_of(executors, settings.sites), agents, user_tokens),
        Uploads(depot, store, rules, settings.limits),
        rules,
        await parts.open_catalogues(settings, stack),
        Pseudonyms(await store.access.secret(PSEUDONYMS)),
        parts.make_notices(settings, service),
        sessions=sessions,
        cookie_key=cookie_key,
        user_tokens=user_tokens,
        permissions=parts.open_permissions(settings, stack),
        queries=await parts.open_queries(settings, applications, stack),
        viewers=await parts.open_viewers(settings, depot, stack),
        data=data,
        up_since=now_ms(),
        described_since=now_ms(),
    )


def _lake(runtime: Runtime) -> Lake | None:
    """Return what takes results for the data lake, if the settings name a catalogue that registers them."""
    name = runtime.settings.datasets.results
    if name is None:
        return None
    catalogue = next(entry for entry in runtime.catalogues.catalogues if entry.name == name)
    storage = {site.name: site.storage_areas() for site in runtime.settings.sites}
    base = (runtime.settings.base_url or "").rstrip("/") if runtime.settings.provenance.lake else ""
    return Lake(catalogue, runtime.depot, storage, runtime.data, base)


def _capabilities(runtime: Runtime) -> list[Coroutine[Any, Any, None]]:
    """Return the loop that reads what is published of the sites, if the settings name a place for that."""
    settings = runtime.settings.site_capabilities
    return [CapabilitiesPoll(settings, runtime.store, runtime.placer).run()] if settings is not None else []


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


def _accounts(runtime: Runtime) -> AccountLoop:
    settings = runtime.settings
    publisher = Publisher(runtime.store, outside_of(settings, runtime.pseudonyms), runtime.service.clock)
    return AccountLoop(runtime.store, settings.accounting, publisher, runtime.pseudonyms)


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


def _deliveries(runtime: Runtime) -> Deliveries:
    mail = runtime.settings.notifications.mail
    mailer = Mailer(mail) if mail is not None else None
    return Deliveries(runtime.store, runtime.notices, mailer, clock=runtime.service.clock)


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
