"""Jobs at a real cluster against raw Kubernetes calls to the same one, in turns: how much the service adds."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.bench.__main__ import Figure
from tests.bench.crowd import live, many
from tests.cluster.service import NAMESPACE, ClusterServer, job_id, settings_of
from tests.rig import images
from tests.rig.site import Site
from uws_service.sites.kubernetes.cluster import Cluster
from uws_service.sites.kubernetes.settings import KubernetesSite

ROUNDS = 7


async def measure(folder: Path) -> list[Figure]:
    """Return a trivial job from RUN to COMPLETED.

    How soon EXECUTING is seen; one at a time.
    """
    exists = Site.find("bench") is not None
    site = Site.up("bench", kwok=True)
    site.import_image(images.service())
    site.import_image(images.agent())
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    settings = settings_of(site)
    server = ClusterServer(folder / "service", [settings], site.host_address)
    server.start()
    cluster = Cluster(KubernetesSite(**settings))
    try:
        async with httpx2.AsyncClient(timeout=60) as http:
            await _ours(http, server.url)  # the first one of each is not counted
            await _bare(cluster, "warm")
            pairs = [
                (await _ours(http, server.url), await _bare(cluster, f"bare-{number}")) for number in range(ROUNDS)
            ]
            lags = [await _lag(http, server.url, cluster) for _ in range(ROUNDS)]
        server.stop()
        crowd = [await many(folder, site), *await live(folder, site)]
    finally:
        await cluster.close()
        server.stop()
        if not exists:
            site.down()
    rate, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    description = (
        f"{rate:.2f} s from RUN to COMPLETED against {bare:.2f} s of a bare Job to Complete, median of {ROUNDS}"
    )
    lag = f"from the pod's Running at the API server to EXECUTING at the client, median of {ROUNDS}"
    return [
        Figure.most("trivial job on a cluster", rate / bare, 1.15, description),
        Figure.most("EXECUTING is seen after", statistics.median(lags) * 1000, 150, lag, "ms"),
        *crowd,
    ]


async def _wait(http: httpx2.AsyncClient, job: str, *phases: str) -> None:
    while (phase := (await http.get(f"{job}/phase")).text) not in phases:
        if phase in ("ERROR", "ABORTED"):
            raise RuntimeError((await http.get(job)).text)
        await http.get(f"{job}?WAIT=30&PHASE={phase}")


async def _ours(http: httpx2.AsyncClient, url: str) -> float:
    job = (await http.post(f"{url}/shell/async", data={"SCRIPT": "true"})).headers["location"]
    began = time.perf_counter()
    await http.post(f"{job}/phase", data={"PHASE": "RUN"})
    await _wait(http, job, "COMPLETED")
    seconds = time.perf_counter() - began
    await http.delete(job)
    return seconds


async def _bare(cluster: Cluster, name: str) -> float:
    """Return the seconds of a bare Job."""
    name = f"{name}-{time.time_ns()}"
    container = {
        "name": "job",
        "image": images.SERVICE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "true"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
    }
    manifest: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"bench": name}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    began = time.perf_counter()
    response = await cluster.create(manifest)
    async for _, watched_job in cluster.watch("jobs", f"bench={name}", response["metadata"]["resourceVersion"]):
        conditions = {
            condition["type"]
            for condition in watched_job.get("status", {}).get("conditions", ())
            if condition["status"] == "True"
        }
        if "Complete" in conditions:
            break
    seconds = time.perf_counter() - began
    await cluster.delete(name)
    return seconds


async def _lag(http: httpx2.AsyncClient, url: str, cluster: Cluster) -> float:
    """Return how late EXECUTING is seen.

    In seconds, from the moment at which the API server shows the container running.
    """
    job = (await http.post(f"{url}/shell/async", data={"SCRIPT": "sleep 4"})).headers["location"]
    selector = f"uws-service/job={job_id(job)}"
    _, version = await cluster.all("pods", selector)

    async def running() -> float:
        async for _, pod in cluster.watch("pods", selector, version):
            for status in pod.get("status", {}).get("containerStatuses", ()):
                if "running" in (status.get("state") or {}):
                    return time.perf_counter()
        raise RuntimeError("the watch ended")

    async def executing() -> float:
        await _wait(http, job, "EXECUTING", "COMPLETED")
        return time.perf_counter()

    watching = asyncio.create_task(running())
    await http.post(f"{job}/phase", data={"PHASE": "RUN"})
    watched_seconds, phase_seconds = await asyncio.gather(watching, executing())
    await http.delete(job)
    return max(0.0, phase_seconds - watched_seconds)
