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
from uws_service.sites.kubernetes.cluster import Cluster
from uws_service.sites.kubernetes.manifest import job_manifest
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.web.faces.registry import STANDARDS

SHELL = Path(__file__).parents[1] / "cluster" / "applications" / "shell.yaml"
RAW = "bench/raw"
"""A label of pods that the service knows nothing of."""
JOBS = 500
LIVE_JOBS = 5_000
LOOK_SECONDS = 30.0
"""Seconds for which a service with so many live Jobs is looked at."""


async def many(folder: Path, site: Site) -> Figure:
    """Compare 500 jobs with as many raw Jobs.

    They run on KWOK's nodes, where pods cost nothing but their objects.

    The raw Jobs have the same pods, since the API server's work grows with what is in them. No kubelet is there to
    ask for the pods' tokens and no agent to use them, so a stand-in asks for one for every pod, ours and raw; for
    ours it claims and reports with it.
    """
    names = ("fake-0", "fake-1")
    site.apply(*(kwok.node(name) for name in names))
    site.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in names))
    settings = settings_of(
        site,
        slots=2 * JOBS,
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
            rate = JOBS / await _burst_ours(http, server.url, JOBS)
            bare = JOBS / await _burst_bare(cluster, JOBS, body)
    finally:
        standing_in.cancel()
        await asyncio.gather(standing_in, return_exceptions=True)
        await cluster.close()
        server.stop()
        site.kubectl("delete", "node", *names)
    description = f"{rate:.1f} jobs/s against {bare:.1f}/s of the same Jobs made by hand, {JOBS} at once on fake nodes"
    return Figure.least("many jobs on a cluster", rate / bare, 0.9, description)


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
    seconds = time.perf_counter() - began
    failed = (await http.get(f"{url}/shell/async?PHASE=ERROR&LAST=1")).text
    assert "jobref" not in failed, failed
    return seconds


def _raw(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a raw Job."""
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
    finished: set[str] = set()
    async for _, watched_job in cluster.watch("jobs", f"bench={run}", version):
        kinds = {
            condition["type"]
            for condition in watched_job.get("status", {}).get("conditions", ())
            if condition["status"] == "True"
        }
        if "Complete" in kinds:
            finished.add(watched_job["metadata"]["name"])
        if len(finished) == number:
            break
    seconds = time.perf_counter() - began
    await making
    for name in finished:
        await cluster.delete(name)
    return seconds


async def _stand_in(cluster: Cluster, url: str) -> None:
    """Do for every pod what its kubelet would do.

    For those of the service what its agent would do.
    """
    tasks: set[asyncio.Task[None]] = set()
    gate = asyncio.Semaphore(32)

    async def speak(pod: dict[str, Any], http: httpx2.AsyncClient) -> None:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        spec = {"audiences": ["uws-service"], "boundObjectRef": bound, "expirationSeconds": 600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        async with gate:
            response = await cluster.ask(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default/token", body)
            if RAW in pod["metadata"]["labels"]:
                return
            headers = {"Authorization": f"Bearer {response['status']['token']}"}
            bodies: dict[str, dict[str, object]] = {
                "claim": {},
                "report": {"outputs": [], "reason": None, "message": ""},
            }
            for path, payload in bodies.items():
                for _ in range(50):
                    answer = await http.post(f"{url}/agent/v1/{path}", json=payload, headers=headers)
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
    """Return what thousands of quiet Jobs cost.

    Their pods fit no node, so nothing happens to them.
    """
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "live"}})
    settings = settings_of(
        site, "live", slots=LIVE_JOBS, qps=1000, schedule_patience=0, node_selector={"type": "none"}, tolerations=[]
    )
    server = ClusterServer(folder / "live", [settings], site.host_address)
    server.start()
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    try:
        async with httpx2.AsyncClient(timeout=300) as http:
            empty = process.memory_info().rss
            table = "SCRIPT\n" + "true\n" * 1000
            for number in range(LIVE_JOBS // 1000):
                files = {"TABLE": ("jobs.csv", io.BytesIO(table.encode()), "text/csv")}
                data = {"PHASE": "RUN", "RUNID": f"live-{number}"}
                answer = await http.post(f"{server.url}/shell/bulk", data=data, files=files)
                assert answer.status_code == 303, answer.text
            began = time.monotonic()
            while (pods := len(site.kubectl("get", "pods", "-n", "live", "-o", "name").splitlines())) < LIVE_JOBS:
                if time.monotonic() - began > 900:
                    raise RuntimeError(f"only {pods} of {LIVE_JOBS} pods after 900 s")
                await asyncio.sleep(5)
            await asyncio.sleep(LOOK_SECONDS)  # until all of them were looked at
            before, at = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)
            share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - at)
            grown_bytes = process.memory_info().rss - empty
    finally:
        server.stop()
        site.kubectl("delete", "namespace", "live", "--wait=false")
    description = f"of one core, over {LOOK_SECONDS:.0f} s in which nothing happens to {LIVE_JOBS} live Jobs"
    return [
        Figure.plain("controller's CPU", 100 * share, description, "%"),
        Figure.plain(
            "controller's memory", grown_bytes / 2**20, f"more with {LIVE_JOBS} live Jobs than with none", "MiB"
        ),
    ]
