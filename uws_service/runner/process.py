"""The process of a runner: its folder, its parts, its sessions, its end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from uws_service import telemetry
from uws_service.depot import Depot
from uws_service.domain.errors import ConfigurationError, ServiceUnavailable, UwsError
from uws_service.domain.ids import now_ms
from uws_service.runner.driver import Driver
from uws_service.runner.link import Link, LinkDown, Refusal, SessionOver, attempt_path, pause
from uws_service.runner.relay import Relay
from uws_service.runner.settings import RunnerSettings
from uws_service.runner.spool import Spool
from uws_service.settings_checks import is_loopback
from uws_service.sites.attempt_tokens import AttemptTokens
from uws_service.sites.executor import Executor
from uws_service.sites.kinds import SiteParts, kind_of, open_sites, start_on_machine
from uws_service.sites.remote.messages import LEASE_SECONDS, PROTOCOL
from uws_service.sites.settings import Fetch

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.5
PAUSE_MAX_SECONDS = 10.0
END_SECONDS = 5.0
"""So long the service is waited for when the runner ends."""
_ID = re.compile(r"[0-9a-f]{32}")


class Tokens:
    """Gets the tokens for jobs' data from the service."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.driver: Driver | None = None

    async def held(self, job_id: str) -> dict[str, Any]:
        """Return what the agent of a job's latest attempt here gets."""
        number = self.driver.orders.numbers.get(job_id) if self.driver is not None else None
        if number is None:
            raise ServiceUnavailable("the service was not asked for this job's tokens yet", retry_after=1)
        tokens: dict[str, Any] = await self.link.post(attempt_path((job_id, number), "data"), {})
        return tokens


class Runner:
    """One runner.

    Parameters
    ----------
    settings
        Its settings.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings
        self.folder = settings.data.absolute()
        self.ended = asyncio.Event()
        self.link = Link(settings)
        self._lock = -1
        self._is_refused = False

    async def run(self) -> None:
        """Run until told to stop.

        Jobs at the site go on.

        Raises
        ------
        ConfigurationError
            The folder or the site can't be used, or belongs to another service.
        """
        self._open_folder()
        try:
            hello = self._hello()
            instance = self._read_instance() or await self._first_session(hello)
            if instance is None:
                return
            async with self._opened(instance) as driver:
                await self._sessions(driver, hello)
        finally:
            await self.link.close()
            os.close(self._lock)

    # -- the folder ------------------------------------------------------------------------------------------------

    def _open_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"Another runner uses the folder {self.folder}.") from None
        except OSError as error:
            raise ConfigurationError(f"data: {self.folder}: {error.strerror or error}") from None

    def _hello(self) -> dict[str, Any]:
        """Return what the runner says of itself.

        Its id is made once.
        """
        path = self.folder / "runner.id"
        identity = path.read_text().strip() if path.exists() else ""
        if not _ID.fullmatch(identity):
            identity = secrets.token_hex(16)
            _write(path, identity)
        kind = kind_of(self.settings.local)
        return {
            "protocol": PROTOCOL,
            "runner": identity,
            "host": socket.gethostname(),
            "kind": kind.name,
            "bound": not kind.leased,
        }

    def _read_instance(self) -> dict[str, Any] | None:
        """Return what the service has said of itself when it was first called."""
        try:
            value = json.loads((self.folder / "service.json").read_text())
            return value if isinstance(value, dict) and value.get("instance") else None
        except (OSError, ValueError):
            return None

    def _keep_instance(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Write down which service this runner works for.

        Raise `ConfigurationError` if it is another one now.
        """
        earlier = self._read_instance()
        if earlier is not None and earlier["instance"] != answer["instance"]:
            raise ConfigurationError(
                f"The folder {self.folder} holds jobs of another service than {self.settings.service}; use another one."
            )
        kept = {name: answer[name] for name in ("instance", "fetch", "lost_after", "data")}
        if kept != earlier:
            _write(self.folder / "service.json", json.dumps(kept))
        return kept

    # -- parts -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _opened(self, instance: dict[str, Any]) -> AsyncIterator[Driver]:
        """Open the site, and the relay for its agents."""
        local, kind = self.settings.local, kind_of(self.settings.local)
        brings_inputs = not self.settings.needs_relay
        depot = Depot.open(str(self.folder / "depot"))
        tokens = Tokens(self.link)
        parts = SiteParts(
            depot,
            self.folder / "work",
            instance["instance"],
            Fetch(**instance["fetch"]),
            tokens if brings_inputs and instance["data"] else None,
        )
        own_tokens = await asyncio.to_thread(self._own_tokens) if kind.tickets else None
        if own_tokens is not None:
            parts = replace(parts, issue_ticket=own_tokens.issue_ticket)
        executor = open_sites([local], parts)[local.name]
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(executor.close)
            await (executor.start() if kind.leased else start_on_machine(local, executor))
            stack.push_async_callback(executor.stop)
            spool = await self._open_relay(executor, depot, own_tokens, stack) if self.settings.needs_relay else None
            driver = Driver(self.link, executor, depot, spool, brings_inputs=brings_inputs)
            driver.lost_after = float(instance["lost_after"])
            tokens.driver = driver
            self.link.on_change = driver.wake.set
            if spool is not None:
                spool.change = driver.wake
            stack.push_async_callback(driver.stop)
            yield driver

    def _own_tokens(self) -> AttemptTokens:
        """Return what issues tickets and tokens for this site's agents; its key is made once."""
        path = self.folder / "agents.key"
        if not path.exists():
            _write(path, secrets.token_hex(32))
        return AttemptTokens(bytes.fromhex(path.read_text().strip()), now_ms)

    async def _open_relay(
        self, executor: Executor, depot: Depot, own_tokens: AttemptTokens | None, stack: contextlib.AsyncExitStack
    ) -> Spool:
        settings, agents = self.settings.relay, kind_of(self.settings.local).agents
        verifier = own_tokens if own_tokens is not None else agents([executor]) if agents is not None else None
        assert settings is not None and verifier is not None
        spool = Spool(depot, self.link, settings.spool)
        await spool.load()
        is_secure = settings.certificate is not None or is_loopback(settings.host)
        relay = Relay(self.settings.site, self.link, spool, verifier, is_secure=is_secure, tokens=own_tokens)
        config = uvicorn.Config(
            relay.app(),
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
        server = _Server(config)
        listener = _listen(settings.host, settings.port)
        log.info("agents are answered", host=settings.host, port=listener.getsockname()[1])
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        sending = asyncio.create_task(spool.run())

        async def close() -> None:
            server.should_exit = True
            sending.cancel()
            await asyncio.gather(serving, sending, return_exceptions=True)
            listener.close()

        stack.push_async_callback(close)
        return spool

    # -- sessions --------------------------------------------------------------------------------------------------

    async def _first_session(self, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Call the service until it says who it is; None: told to stop."""
        answer = await self._open_session(hello)
        return self._keep_instance(answer) if answer is not None else None

    async def _sessions(self, driver: Driver, hello: dict[str, Any]) -> None:
        """Drive the site in one session after the other, until told to stop."""
        hello = {**hello, "streams": list(driver.executor.streams)}
        while not self.ended.is_set():
            answer = await self._open_session(hello)
            if answer is None:
                break
            driver.lost_after = float(self._keep_instance(answer)["lost_after"])
            log.info("driving the site", site=self.settings.site, epoch=answer["epoch"])
            work = asyncio.create_task(driver.run())
            stop = asyncio.create_task(self.ended.wait())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in (work, stop):
                task.cancel()
            (result, _) = await asyncio.gather(work, stop, return_exceptions=True)
            if isinstance(result, SessionOver):
                log.warning("this runner does not drive the site any more", why=result.message)
                await pause(LEASE_SECONDS, self.ended)  # the other one goes first
            elif isinstance(result, Exception):
                log.error("driving the site ended", error=repr(result))
                await pause(PAUSE_SECONDS, self.ended)
        with contextlib.suppress(UwsError, TimeoutError):
            await asyncio.wait_for(self.link.end(), END_SECONDS)

    async def _open_session(self, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Ask for the site until the service gives it; None: told to stop."""
        seconds, said = PAUSE_SECONDS, ""
        while not self.ended.is_set():
            try:
                return await self.link.open(hello)
            except (LinkDown, Refusal, SessionOver) as error:
                if error.message != said:
                    said = error.message
                    log.warning("the service does not give this runner the site", site=self.settings.site, why=said)
            await pause(seconds, self.ended)
            seconds = min(PAUSE_MAX_SECONDS, seconds * 1.5)
        return None


class _Server(uvicorn.Server):
    """A server whose signals are the runner's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave the signals alone."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"relay: {host}:{port}: {error.strerror or error}") from None


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def run(settings: RunnerSettings) -> None:
    """Run a runner until SIGTERM or SIGINT."""
    telemetry.configure_logging(settings.log_format, settings.log_level)
    os.umask(0o077)  # whatever is written is for the runner's user alone

    async def main() -> None:
        runner = Runner(settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, runner.ended.set)
        await runner.run()

    asyncio.run(main())
