"""A cluster's API server, on the official client.

Plain dictionaries go in and out, and errors are sorted.

The client's models are left aside: they cost thirty times the parsing of the same JSON, and refuse fields that a newer
cluster may have. What the client gives us is authentication (kubeconfig, exec plugins, in-cluster), TLS and pooling.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.sites.executor import NotNow
from uws_service.sites.kubernetes.settings import KubernetesSite

RESOURCES = {
    "jobs": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "pods": "/api/v1/namespaces/{namespace}/pods",
    "workloads": "/apis/kueue.x-k8s.io/{kueue}/namespaces/{namespace}/workloads",
}
Query = list[tuple[str, str]]
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
WATCH_SECONDS = 240
"""After so long the API server ends a watch by itself, and we resume it."""
AT_ONCE = 32
"""So many requests are under way at a time, fewer than the pool has connections: the wait for one would count as the
API server's silence. Watches and the question whether it is there do not wait."""
PAGE = 500
KUEUE = "kueue.x-k8s.io"
RELOAD_SECONDS = 10.0
"""Credentials are read anew at most this often."""
_NO_LOG = re.compile(rb"unable to retrieve container logs for [a-z-]+://[0-9a-f]{64}\s*")
"""The kubelet's answer for a container that is gone (kubernetes/kubernetes, kuberuntime_container.go)."""


class SiteDown(NotNow):
    """The API server can't be used.

    It can't be reached, fails, or does not let us in.
    """


class SiteBusy(NotNow):
    """The API server is busy; nothing was done.

    It says 429, or a quota is full.
    """


class SiteRefuses(UwsError):
    """The API server will never take this object.

    The message is its own.
    """

    status = 422


class Expired(Exception):
    """The resource version is too old to be resumed (410): list again."""


class Missing(Exception):
    """There is no such object (404)."""


class Exists(Exception):
    """There is one of this name already (409)."""


class Connection:
    """The connection to one API server.

    With its credentials, and no faster than it may be.
    """

    def __init__(self, site: KubernetesSite) -> None:
        self.site = site
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._loaded = 0.0
        self._tick = 0.0
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def open(self) -> None:
        """Read the credentials.

        Raises
        ------
        ConfigurationError
            There are none, or they can't be read.
        """
        async with self._opening:
            if self._client is None:
                await self._load()

    async def close(self) -> None:
        """End all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _load(self) -> None:
        from kubernetes.aio import client, config  # half a second that only sites of this kind need

        origin = f"site {self.site.name}"
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 64
        configuration.retries = None
        try:
            if self.site.kubeconfig is None:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    str(self.site.kubeconfig),
                    self.site.context,
                    client_configuration=configuration,
                    persist_config=False,
                )
            api = client.ApiClient(configuration)
        except (
            config.ConfigException,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            name = self.site.kubeconfig or "the pod's service account"
            raise ConfigurationError(f"{origin}: {name} can't be used: {error}") from None
        old, self._client, self._loaded = self._client, api, time.monotonic()
        if old is not None:
            await old.close()

    async def _renew(self) -> None:
        """Read the credentials anew.

        Somebody may have replaced them.
        """
        async with self._opening:
            if time.monotonic() - self._loaded > RELOAD_SECONDS:
                try:
                    await self._load()
                except ConfigurationError as error:
                    raise SiteDown(error.message, sent=False) from None

    async def _ask(self, method: str, path: str, *, query: Query | None = None, body: Any = None) -> Any:
        async with self._response(method, path, query=query, body=body) as response:
            try:
                return json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise SiteDown(f"site {self.site.name}: the answer was cut short: {error!r}") from None

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, *, query: Query | None = None, body: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer in its turn."""
        async with self._gate:
            await self._throttle()
            async with self._answer(method, path, query=query, body=body) as response:
                yield response

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        await self.open()
        response = await self._send(method, path, query, body, timeout)
        if response.status == 401:
            response.release()
            await self._renew()
            response = await self._send(method, path, query, body, timeout)
        try:
            if response.status >= 400:
                await self._complain(response)
            yield response
        finally:
            # An answer that was not read to its end can't be followed by another one on the same connection.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _send(
        self, method: str, path: str, query: Query | None, body: Any, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json, */*", "Content-Type": "application/json"}
        client = self._client
        try:
            call = await client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list(query or []),
                header_params=headers,
                body=dict(body) if body is not None else None,
                auth_settings=["BearerToken"],
            )
            answer = await client.call_api(*call, _preload_content=False, _request_timeout=timeout)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SiteDown(f"site {self.site.name}: the API server can't be reached: {error}", sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SiteDown(
                f"site {self.site.name}: no answer of the API server: {error or type(error).__name__}"
            ) from None
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _complain(self, response: aiohttp.ClientResponse) -> None:
        """Raise the API server's refusal as an error of ours."""
        try:
            text = (await response.read()).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            text = ""
        try:
            status = json.loads(text)
            message = str(status.get("message") or text) if isinstance(status, dict) else text
        except ValueError:
            message = text
        raise refusal(self.site.name, response.status, message[:1000], response.headers.get("Retry-After"))

    async def _throttle(self) -> None:
        """Hold back beyond so many requests a second.

        Short bursts pass.
        """
        now = time.monotonic()
        self._tick = max(self._tick, now - 0.5) + 1 / self.site.qps
        if self._tick > now:
            await asyncio.sleep(self._tick - now)


class Cluster(Connection):
    """One namespace of one cluster.

    Opened at first use.
    """

    _kueue = "v1beta1"
    """The version of Kueue's API, until it is found out."""
    _visibility = "v1beta1"
    """The same for its queues' places, an API group of its own."""

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make a Job.

        `Exists` if there is one of this name.
        """
        document: dict[str, Any] = await self._ask("POST", self._path("jobs"), body=manifest)
        return document

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object, or `Missing`."""
        document: dict[str, Any] = await self._ask("GET", f"{self._path(kind)}/{name}")
        return document

    async def delete(self, name: str, uid: str | None = None) -> None:
        """Remove a Job and its pods.

        Nothing happens if another one has its name by now.
        """
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._ask("DELETE", f"{self._path('jobs')}/{name}", body=body)
        except (Missing, Exists):
            return

    async def delete_pod(self, name: str, uid: str) -> None:
        """End a pod, with the grace of the site's settings."""
        body = {"preconditions": {"uid": uid}, "gracePeriodSeconds": self.site.grace}
        try:
            await self._ask("DELETE", f"{self._path('pods')}/{name}", body=body)
        except (Missing, Exists):
            return

    async def all(self, kind: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return all objects that a label selector finds.

        With them comes the resource version from which to watch.
        """
        items: list[dict[str, Any]] = []
        query = [("limit", str(PAGE)), ("labelSelector", selector)]
        token = ""
        while True:
            page = await self._ask("GET", self._path(kind), query=[*query, *([("continue", token)] if token else [])])
            items += page["items"]
            token = page["metadata"].get("continue") or ""
            if not token:
                return items, page["metadata"]["resourceVersion"]

    async def watch(self, kind: str, selector: str, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield changes after a resource version.

        Each is ADDED, MODIFIED, DELETED or BOOKMARK, with the object; the server ends it at times.
        """
        query = [
            ("watch", "true"),
            ("labelSelector", selector),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=WATCH_SECONDS + 30)
        async with self._answer("GET", self._path(kind), query=query, timeout=timeout) as response:
            partial = b""
            async for chunk in _pieces(response):
                *lines, partial = (partial + chunk).split(b"\n")
                for line in lines:
                    if line:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            if event["object"].get("code") == 410:
                                raise Expired
                            raise SiteDown(f"site {self.site.name}: {event['object'].get('message', 'watch failed')}")
                        yield event["type"], event["object"]

    async def log(
        self, pod: str, container: str, *, limit: int, tail: int | None = None, stream: str | None = None
    ) -> AsyncIterator[bytes]:
        """Yield what a container printed.

        At most ``limit`` bytes of it; with ``tail`` only so many of its last lines.

        Raises
        ------
        Missing
            The container is gone, which the kubelet tells in the place of a log, with status 200.
        """
        query = [("container", container), ("limitBytes", str(limit))]
        if tail is not None:
            query.append(("tailLines", str(tail)))
        if stream is not None:
            query.append(("stream", stream))
        async with self._response("GET", f"{self._path('pods')}/{pod}/log", query=query) as response:
            is_first = True
            async for chunk in _pieces(response):
                if is_first and _NO_LOG.fullmatch(chunk):
                    raise Missing(chunk.decode())
                is_first = False
                yield chunk

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET any path, or POST a body to it.

        JSON both ways.
        """
        return await self._ask("GET" if body is None else "POST", path, body=body)

    async def find_kueue(self) -> None:
        """Find the version of its API that Kueue serves.

        Raises `SiteDown` if there is no Kueue.
        """
        try:
            group = await self._ask("GET", "/apis/kueue.x-k8s.io")
        except Missing:
            raise SiteDown(f"site {self.site.name}: there is no Kueue in the cluster.", sent=False) from None
        self._kueue = self._visibility = group["preferredVersion"]["version"]
        with contextlib.suppress(Missing):  # places are not shown then
            group = await self._ask("GET", f"/apis/visibility.{KUEUE}")
            self._visibility = group["preferredVersion"]["version"]

    async def places(self, queue: str) -> dict[str, int]:
        """Return the places in a local queue, by Job.

        That is how many are before it, as Kueue's visibility API has it.
        """
        path = f"/apis/visibility.{KUEUE}/{self._visibility}/namespaces/{self.site.namespace}/localqueues/{queue}"
        answer = await self._ask("GET", f"{path}/pendingworkloads", query=[("limit", "1000")])
        places = {}
        for item in answer.get("items") or ():
            for owner in item["metadata"].get("ownerReferences") or ():
                if owner.get("kind") == "Job":
                    places[owner["name"]] = int(item["positionInLocalQueue"])
        return places

    async def is_there(self) -> None:
        """Ask for as little as possible.

        Raises `SiteDown` if there is no answer.

        Without a resource version: with one, the API server answers from its cache and ignores the limit.
        """
        async with self._answer("GET", self._path("jobs"), query=[("limit", "1")]) as response:
            await response.read()

    def _path(self, kind: str) -> str:
        return RESOURCES[kind].format(namespace=self.site.namespace, kueue=self._kueue)


def refusal(site: str, status: int, message: str, retry_after: str | None = None) -> Exception:
    """Return an answer of the API server as an error."""
    origin = f"site {site}: {message}"
    if status == 404:
        return SiteDown(origin, sent=False) if "namespaces " in message else Missing(message)
    if status == 409:
        return Exists(message)
    if status == 410:
        return Expired(message)
    if status == 429 or "exceeded quota" in message:
        seconds = int(retry_after) if retry_after and retry_after.isdigit() else 1
        return SiteBusy(origin, sent=False, retry_after=seconds)
    if status == 401:
        return SiteDown(f"site {site}: its API server does not accept our credentials ({message}).", sent=False)
    if status == 403 and " cannot " in message:
        return SiteDown(f"site {site}: our account there lacks rights: {message}", sent=False)
    if status >= 500:
        return SiteDown(origin)
    return SiteRefuses(message)


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SiteDown(f"the stream ended early: {error!r}") from None
