"""Jobs at a real cluster against raw Kubernetes calls to the same one, in turns: how much the service adds."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.bench.__main__ import Figure
from tests.cluster import images, kwok
from tests.cluster.service import NAMESPACE, ClusterServer, job_id, settings_of
from tests.cluster.site import Site
from uws_service.applications import check, launch
from uws_service.applications.loading import load_application
from uws_service.executors.kubernetes import Cluster
from uws_service.executors.kubernetes.manifest import job_manifest
from uws_service.job import Job, Parameter, Phase
from uws_service.settings import KubernetesSite

ROUNDS = 7
SHELL = Path(__file__).parents[1] / "cluster" / "applications" / "shell.yaml"
RAW = "bench/raw"
"""A label of pods that the service knows nothing of."""
MANY = 500
"""Jobs at once on fake nodes."""


async def measure(folder: Path) -> list[Figure]:
    """A trivial job from RUN to COMPLETED, and how soon EXECUTING is seen; one at a time."""
    there = Site.find("bench") is not None
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
        many = await _many(folder, site)
    finally:
        await cluster.close()
        server.stop()
        if not there:
            site.down()
    ours, bare = (statistics.median(one) for one in zip(*pairs, strict=True))
    how = f"{ours:.2f} s from RUN to COMPLETED against {bare:.2f} s of a bare Job to Complete, median of {ROUNDS}"
    lag = f"from the pod's Running at the API server to EXECUTING at the client, median of {ROUNDS}"
    return [
        Figure.most("trivial job on a cluster", ours / bare, 1.15, how),
        Figure.most("EXECUTING is seen after", statistics.median(lags) * 1000, 150, lag, "ms"),
        many,
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
    spent = time.perf_counter() - began
    await http.delete(job)
    return spent


async def _bare(cluster: Cluster, name: str) -> float:
    """A Job with the same image and command and nothing else."""
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
    made = await cluster.create(manifest)
    async for _, found in cluster.watch("jobs", f"bench={name}", made["metadata"]["resourceVersion"]):
        done = {one["type"] for one in found.get("status", {}).get("conditions", ()) if one["status"] == "True"}
        if "Complete" in done:
            break
    spent = time.perf_counter() - began
    await cluster.delete(name)
    return spent


async def _lag(http: httpx2.AsyncClient, url: str, cluster: Cluster) -> float:
    """From the moment at which the API server shows the container running to the phase EXECUTING."""
    job = (await http.post(f"{url}/shell/async", data={"SCRIPT": "sleep 4"})).headers["location"]
    selector = f"uws-service/job={job_id(job)}"
    _, version = await cluster.all("pods", selector)

    async def running() -> float:
        async for _, pod in cluster.watch("pods", selector, version):
            for one in pod.get("status", {}).get("containerStatuses", ()):
                if "running" in (one.get("state") or {}):
                    return time.perf_counter()
        raise RuntimeError("the watch ended")

    async def executing() -> float:
        await _wait(http, job, "EXECUTING", "COMPLETED")
        return time.perf_counter()

    watching = asyncio.create_task(running())
    await http.post(f"{job}/phase", data={"PHASE": "RUN"})
    seen, shown = await asyncio.gather(watching, executing())
    await http.delete(job)
    return max(0.0, shown - seen)


# --- many jobs on fake nodes ----------------------------------------------------------------------------------------


async def _many(folder: Path, site: Site) -> Figure:
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
    application = load_application(SHELL)
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
