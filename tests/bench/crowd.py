"""Many jobs at once on KWOK's fake nodes, where pods cost nothing but their objects: how quick, and at what cost."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.bench.__main__ import Figure
from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.rig import kwok
from tests.rig.site import Site
from uws_service.applications import check, launch
from uws_service.applications.files import load_application
from uws_service.domain.job import Job, Parameter, Phase
from uws_service.sites.kubernetes import Cluster
from uws_service.sites.kubernetes.manifest import job_manifest
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.web.faces import STANDARDS

SHELL = Path(__file__).parents[1] / "cluster" / "applications" / "shell.yaml"
RAW = "bench/raw"
"""A label of pods that the service knows nothing of."""
MANY = 500
LIVE = 5_000
LOOK = 30.0
"""Seconds for which a service with so many live Jobs is looked at."""


async def many(folder: Path, site: Site) -> Figure:
    """500 jobs through the service against as many raw Jobs, on KWOK's nodes: pods cost nothing but their objects.

    The raw Jobs have the same pods, since the API server's work grows with what is in them. No kubelet is there to
    ask for the pods' tokens and no agent to use them, so a stand-in asks for one for every pod, ours and raw; for
    ours it claims and reports with it.
    """
    names = ("fake-0", "fake-1")
    site.apply(*(kwok.node(name) for name in names))
    site.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in names))
    settings = settings_of(
        site,
        slots=2 * MANY,
        qps=1000,
        schedule_patience=0,
        node_selector={"type": "kwok"},
        tolerations=[dict(kwok.TOLERATION)],
    )
    server = ClusterServer(folder / "many", [settings], site.host_address)
    server.start()
    cluster = Cluster(KubernetesSite(**settings))
    standing_in = asyncio.create_task(_stand_in(cluster, server.url))
    body = _raw(settings)
    try:
        async with httpx2.AsyncClient(timeout=60) as http:
            await _burst_ours(http, server.url, 20)
            await _burst_bare(cluster, 20, body)
            ours = MANY / await _burst_ours(http, server.url, MANY)
            bare = MANY / await _burst_bare(cluster, MANY, body)
    finally:
        standing_in.cancel()
        await asyncio.gather(standing_in, return_exceptions=True)
        await cluster.close()
        server.stop()
        site.kubectl("delete", "node", *names)
    how = f"{ours:.1f} jobs/s against {bare:.1f}/s of the same Jobs made by hand, {MANY} at once on fake nodes"
    return Figure.least("many jobs on a cluster", ours / bare, 0.9, how)


async def _burst_ours(http: httpx2.AsyncClient, url: str, number: int) -> float:
    began = time.perf_counter()
    gate = asyncio.Semaphore(16)

    async def one() -> None:
        async with gate:
            answer = await http.post(f"{url}/shell/async", data={"SCRIPT": "true", "PHASE": "RUN", "RUNID": "burst"})
            assert answer.status_code == 303, answer.text

    await asyncio.gather(*(one() for _ in range(number)))
    while True:
        listed = (await http.get(f"{url}/shell/async?PHASE=QUEUED&PHASE=EXECUTING&LAST=1")).text
        if "jobref" not in listed:
            break
        await asyncio.sleep(0.1)
    spent = time.perf_counter() - began
    failed = (await http.get(f"{url}/shell/async?PHASE=ERROR&LAST=1")).text
    assert "jobref" not in failed, failed
    return spent


def _raw(settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a job of the service, as the raw Jobs have it too."""
    application = load_application(SHELL, STANDARDS)
    parameters = (Parameter("SCRIPT", "true"),)
    job = Job("0" * 32, "shell", None, Phase.QUEUED, 0, 0, None, parameters=parameters)
    body = job_manifest(launch(application, job, check(application, parameters), 1), KubernetesSite(**settings), "raw")
    for part in (body["metadata"], body["spec"]["template"]["metadata"]):
        part["labels"] = {RAW: ""}
    return body


async def _burst_bare(cluster: Cluster, number: int, body: dict[str, Any]) -> float:
    run = f"burst-{time.time_ns()}"
    gate = asyncio.Semaphore(16)
    began = time.perf_counter()

    async def one(index: int) -> None:
        metadata = {"name": f"{run}-{index}", "namespace": NAMESPACE, "labels": {"bench": run}}
        async with gate:
            await cluster.create({**body, "metadata": metadata})

    _, version = await cluster.all("jobs", f"bench={run}")
    making = asyncio.gather(*(one(index) for index in range(number)))
    done: set[str] = set()
    async for _, found in cluster.watch("jobs", f"bench={run}", version):
        kinds = {one["type"] for one in found.get("status", {}).get("conditions", ()) if one["status"] == "True"}
        if "Complete" in kinds:
            done.add(found["metadata"]["name"])
        if len(done) == number:
            break
    spent = time.perf_counter() - began
    await making
    for name in done:
        await cluster.delete(name)
    return spent


async def _stand_in(cluster: Cluster, url: str) -> None:
    """Do for every pod what its kubelet would do, and for those of the service what its agent would do."""
    tasks: set[asyncio.Task[None]] = set()
    gate = asyncio.Semaphore(32)

    async def speak(pod: dict[str, Any], http: httpx2.AsyncClient) -> None:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        spec = {"audiences": ["uws-service"], "boundObjectRef": bound, "expirationSeconds": 600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        async with gate:
            made = await cluster.ask(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default/token", body)
            if RAW in pod["metadata"]["labels"]:
                return
            headers = {"Authorization": f"Bearer {made['status']['token']}"}
            for path, told in (("claim", {}), ("report", {"outputs": [], "reason": None, "message": ""})):
                for _ in range(50):
                    answer = await http.post(f"{url}/agent/v1/{path}", json=told, headers=headers)
                    if answer.status_code < 500:
                        break
                    await asyncio.sleep(0.1)

    async with httpx2.AsyncClient(timeout=60) as http:
        selector = "batch.kubernetes.io/job-name"
        _, version = await cluster.all("pods", selector)
        async for kind, pod in cluster.watch("pods", selector, version):
            if kind == "ADDED":
                task = asyncio.create_task(speak(pod, http))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


# --- many that live ---------------------------------------------------------------------------------------------------


async def live(folder: Path, site: Site) -> list[Figure]:
    """What a service costs that drives thousands of live Jobs to which nothing happens: their pods fit no node."""
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "live"}})
    settings = settings_of(
        site, "live", slots=LIVE, qps=1000, schedule_patience=0, node_selector={"type": "none"}, tolerations=[]
    )
    server = ClusterServer(folder / "live", [settings], site.host_address)
    server.start()
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    try:
        async with httpx2.AsyncClient(timeout=300) as http:
            empty = process.memory_info().rss
            table = "SCRIPT\n" + "true\n" * 1000
            for number in range(LIVE // 1000):
                files = {"TABLE": ("jobs.csv", io.BytesIO(table.encode()), "text/csv")}
                data = {"PHASE": "RUN", "RUNID": f"live-{number}"}
                answer = await http.post(f"{server.url}/shell/bulk", data=data, files=files)
                assert answer.status_code == 303, answer.text
            began = time.monotonic()
            while (there := len(site.kubectl("get", "pods", "-n", "live", "-o", "name").splitlines())) < LIVE:
                if time.monotonic() - began > 900:
                    raise RuntimeError(f"only {there} of {LIVE} pods after 900 s")
                await asyncio.sleep(5)
            await asyncio.sleep(LOOK)  # until all of them were looked at
            before, at = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(LOOK)
            share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - at)
            held = process.memory_info().rss - empty
    finally:
        server.stop()
        site.kubectl("delete", "namespace", "live", "--wait=false")
    how = f"of one core, over {LOOK:.0f} s in which nothing happens to {LIVE} live Jobs"
    return [
        Figure.plain("controller's CPU", 100 * share, how, "%"),
        Figure.plain("controller's memory", held / 2**20, f"more with {LIVE} live Jobs than with none", "MiB"),
    ]
