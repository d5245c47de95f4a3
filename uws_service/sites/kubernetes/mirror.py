"""A copy of what is in a namespace.

List, then watch from there, and list again whenever the thread is lost.

Only views are kept, not the objects: a pod is some ten thousand characters of JSON of which we need a dozen values.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import structlog

from uws_service.domain.errors import UwsError
from uws_service.sites.kubernetes.cluster import Cluster, Expired, SiteDown

log = structlog.get_logger(__name__)

V = TypeVar("V")
RELIST_SECONDS = 600.0
"""A list now and then heals whatever a watch may have missed."""


class Mirror(Generic[V]):
    """The views of one kind of object.

    Parameters
    ----------
    cluster, kind, selector
        Where to look, and for what.
    view
        Makes the view of an object; None for an object that is none of ours.
    changed
        Called with the name, the view before and the view after each change (None: not there).
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        selector: str,
        view: Callable[[Mapping[str, Any]], V | None],
        changed: Callable[[str, V | None, V | None], None],
    ) -> None:
        self.cluster, self.kind, self.selector, self.view, self.changed = cluster, kind, selector, view, changed
        self.views: dict[str, V] = {}
        self.complete = asyncio.Event()
        """Set while the copy was made from a whole list and is being followed."""
        self.problem = ""
        self._relist = asyncio.Event()

    def relist(self) -> None:
        """Forget the watch that may hang, and list anew."""
        self._relist.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            self._relist.clear()
            try:
                version = await self._list()
                self.problem = ""
                failures = 0
                self.complete.set()
                await self._follow(version)
            except Expired:
                continue
            except UwsError as error:
                self._lost(error.message)
            except Exception as error:  # an object that makes no sense must not end the site's controller
                log.exception("watch failed", site=self.cluster.site.name, kind=self.kind)
                self._lost(repr(error))
            if self.problem:
                failures += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(10.0, 0.3 * 2**failures) * random.uniform(0.7, 1.3)):
                        await self._relist.wait()

    def _lost(self, problem: str) -> None:
        self.problem = problem
        self.complete.clear()

    async def _list(self) -> str:
        items, version = await self.cluster.all(self.kind, self.selector)
        fresh: dict[str, V] = {}
        for item in items:
            view = self.view(item)
            if view is not None:
                fresh[item["metadata"]["name"]] = view
        for name in self.views.keys() - fresh.keys():
            self._put(name, None)
        for name, view in fresh.items():
            self._put(name, view)
        return version

    def _put(self, name: str, view: V | None) -> None:
        before = self.views.get(name)
        if view == before:
            return
        if view is None:
            del self.views[name]
        else:
            self.views[name] = view
        self.changed(name, before, view)

    async def _follow(self, version: str) -> None:
        """Watch until it is time to list again.

        Each watch begins where the last one ended.
        """
        end = time.monotonic() + RELIST_SECONDS * random.uniform(0.8, 1.2)
        while time.monotonic() < end and not self._relist.is_set():
            watching = asyncio.ensure_future(self._watch(version))
            relist = asyncio.ensure_future(self._relist.wait())
            try:
                await asyncio.wait({watching, relist}, return_when=asyncio.FIRST_COMPLETED)
                if not watching.done():
                    return
                version = watching.result()
            finally:
                for task in (watching, relist):
                    task.cancel()
                await asyncio.gather(watching, relist, return_exceptions=True)

    async def _watch(self, version: str) -> str:
        try:
            async for kind, document in self.cluster.watch(self.kind, self.selector, version):
                version = document["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    if document["metadata"]["name"] in self.views:
                        self._put(document["metadata"]["name"], None)
                elif kind != "BOOKMARK":
                    view = self.view(document)
                    if view is not None:
                        self._put(document["metadata"]["name"], view)
        except SiteDown as error:
            # A stream that breaks is no news of the site; what asks next will tell.
            log.debug("watch ended", site=self.cluster.site.name, kind=self.kind, why=error.message)
            await asyncio.sleep(0.2)
            await self.cluster.is_there()
        return version
