"""The ends of logs that somebody reads while their commands run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable

import structlog

from uws_service.domain.errors import UwsError
from uws_service.runner.link import Link, attempt_path
from uws_service.sites.executor import Executor
from uws_service.sites.remote.messages import Key

log = structlog.get_logger(__name__)

LIVE_LOG_BYTES = 1024 * 1024


class LiveLogs:
    """Sends logs as they are now.

    Parameters
    ----------
    link
        The way to the service.
    executor
        The site.
    """

    def __init__(self, link: Link, executor: Executor) -> None:
        self.link = link
        self.executor = executor
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def send(self, keys: Iterable[Key]) -> None:
        """Send the logs of these attempts, in the background."""
        for key in keys:
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._send(key))

    async def stop(self) -> None:
        """Send no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, key: Key) -> None:
        try:
            for name in self.executor.streams:
                content = await self.executor.read_log(*key, name)
                if content is not None:
                    content = content[-LIVE_LOG_BYTES:]
                    digest = hashlib.sha256(content).hexdigest()
                    await self.link.put(attempt_path(key, f"live/{name}"), _chunks(content), len(content), digest)
        except UwsError as error:
            log.info("a log can't be shown now", job=key[0], attempt=key[1], error=error.message)
        except Exception:  # such as a fault in a kind of another package
            log.exception("a log can't be shown now", job=key[0], attempt=key[1])
        finally:
            self._tasks.pop(key, None)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content
