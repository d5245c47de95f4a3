"""The Helm chart: what it makes is valid, wrong values are refused, and installed on a real cluster it runs jobs."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.cluster.service import Client, objects, until
from tests.rig import build, images, schemas
from tests.rig.site import Site
from tests.server import free_port

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "k8s" / "uws-service"
EXAMPLES = ROOT / "k8s" / "examples"
FOREIGN = ("ServiceMonitor", "HTTPRoute")
"""Kinds of operators that are not on the test clusters."""
EVERYTHING = [
    "replicas=3", "database.existingSecret=db", "depot.url=s3://b/p?endpoint=https://s3", "depot.existingSecret=s3",
    "ingress.enabled=true", "ingress.host=uws.example.org", "ingress.tlsSecret=tls", "gateway.enabled=true",
    "gateway.parentRefs[0].name=edge", "serviceMonitor.enabled=true", "dashboard.enabled=true", "site.queue=astro",
    "site.namespace=jobs", "kubeconfigs.existingSecret=sites", "applications.mine\\.yaml=name: mine",
    "networkPolicy.from[0].podSelector.matchLabels.app=edge", "image.pullSecrets[0]=registry",
]  # fmt: skip


def helm(*arguments: str, check: bool = True) -> str:
    """Run helm; what it prints, complaints included."""
    program = build.ensure("helm")["helm"]
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, timeout=180)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if done.returncode == 0 else done.stderr


def template(*values: str, file: Path | None = None, check: bool = True) -> str:
    """The chart's objects with these values."""
    given = [word for value in values for word in ("--set", value)]
    files = ["-f", str(file)] if file is not None else []
    return helm("template", "uws", str(CHART), "--kube-version", build.KUBERNETES, *files, *given, check=check)


def test_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("values", [[], EVERYTHING], ids=["defaults", "everything"])
def test_objects_are_valid(values: list[str]) -> None:
    """kubeconform, strictly, against the schemas of the Kubernetes that the tests run."""
    documents = [one for one in yaml.safe_load_all(template(*values)) if one and one["kind"] not in FOREIGN]
    assert {"Deployment", "Role", "Service", "NetworkPolicy", "ConfigMap"} <= {one["kind"] for one in documents}
    schemas.check(yaml.safe_dump_all(documents))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples(file: Path) -> None:
    """Examples of values make valid objects; examples of objects are valid."""
    text = file.read_text() if "apiVersion" in file.read_text() else template(file=file)
    documents = [one for one in yaml.safe_load_all(text) if one and one["kind"] not in FOREIGN]
    schemas.check(yaml.safe_dump_all(documents))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("replicas=2", "replicas above 1 need PostgreSQL"),
        ("replicas=0", "replicas"),
        ("database.url=mysql://x", "database"),
        ("site.nmae=x", "nmae"),
        ("site.agentUrl=ftp://x", "agentUrl"),
        ("ingress.enabled=true", "ingress.host must be set"),
    ],
)
def test_wrong_values_are_refused(value: str, words: str) -> None:
    said = template(value, check=False)
    assert "Error" in said and words in said


def test_rights_are_of_one_namespace() -> None:
    """No ClusterRole, and no right that the executor does not use."""
    documents = [one for one in yaml.safe_load_all(template(*EVERYTHING)) if one]
    assert not [one for one in documents if one["kind"].startswith("ClusterRole")]
    (role,) = (one for one in documents if one["kind"] == "Role")
    assert role["metadata"]["namespace"] == "jobs"
    assert {resource: rule["verbs"] for rule in role["rules"] for resource in rule["resources"]} == {
        "jobs": ["create", "delete", "get", "list", "watch"],
        "pods": ["delete", "list", "watch"],
        "pods/log": ["get"],
        "workloads": ["list", "watch"],
        "localqueues/pendingworkloads": ["get"],
    }


@contextmanager
def _forwarder(address: str, port: int, target: str) -> Iterator[None]:
    """Passes connections on to the pod: the test clusters have no Services of their own."""
    command = [sys.executable, "-m", "tests.rig.forward", address, str(port), target, "8080"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        until(lambda: _listens(address, port), "the forwarder")
        yield
    finally:
        process.kill()
        process.wait(10)


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def test_installed_it_runs_a_job(site_a: Site) -> None:
    """With the chart's rights and no others: a job from RUN to its result, its log, and nothing left behind."""
    namespace, kubeconfig = "chart", str(site_a.kubeconfig)
    repository, tag = images.SERVICE.rsplit(":", 1)
    port = free_port()
    url = f"http://{site_a.host_address}:{port}"
    values = [
        f"image.repository={repository}", f"image.tag={tag}", "image.pullPolicy=Never", "persistence.enabled=false",
        f"site.agentUrl={url}", f"settings.base_url={url}",
    ]  # fmt: skip
    given = [word for value in values for word in ("--set", value)]
    where = ("--namespace", namespace, "--kubeconfig", kubeconfig)
    helm("upgrade", "--install", "uws", str(CHART), *where, "--create-namespace", "--wait", "--timeout", "120s", *given)
    try:
        (pod,) = site_a.get("pods", "-n", namespace, "-l", "app.kubernetes.io/name=uws-service")["items"]
        with _forwarder(site_a.host_address, port, pod["status"]["podIP"]), Client(url, "sleep") as client:
            job = client.create({"SECONDS": "0", "PHASE": "RUN"})
            told = client.ended(job)
            assert told["phase"] == "COMPLETED", told["errorSummary"]
            assert told["jobInfo"]["site"] == "cluster"
            assert client.http.get(told["results"][0]["href"]).status_code == 200
            assert client.http.get(f"{job}/logs/stdout").status_code == 200
            until(lambda: not objects(site_a, "jobs,pods", job, namespace), "the Job to go")
            aborted = client.create({"SECONDS": "90", "PHASE": "RUN"})
            client.wait(aborted, "EXECUTING")
            client.post(f"{aborted}/phase", {"PHASE": "ABORT"})
            until(lambda: not objects(site_a, "jobs,pods", aborted, namespace), "the aborted one to go")
        account = f"--as=system:serviceaccount:{namespace}:uws"
        for what in ("create pods", "get secrets", "list jobs -A", "delete deployments.apps", "create pods/exec"):
            said = site_a.kubectl("auth", "can-i", *what.split(), "-n", namespace, account, check=False)
            assert said.strip().startswith("no"), what
    finally:
        helm("uninstall", "uws", *where)
        site_a.kubectl("delete", "namespace", namespace, "--wait=false")
