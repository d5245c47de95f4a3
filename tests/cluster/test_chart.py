"""The Helm chart.

What it makes is valid, wrong values are refused, and installed on a real cluster it runs jobs.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.service import Client, objects, until
from tests.rig import build, images, schemas
from tests.rig.site import Site
from tests.server import free_port
from uws_service.agent.fetch import is_public
from uws_service.applications.files import load_application
from uws_service.settings import Settings
from uws_service.tap.worker import LOADING_BYTES
from uws_service.web.faces.registry import STANDARDS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "k8s" / "uws-service"
EXAMPLES = ROOT / "k8s" / "examples"
FOREIGN = ("ServiceMonitor", "HTTPRoute", "PrometheusRule")
"""Kinds of operators that are not on the test clusters."""
OPEN = ["anonymous=true", "site.allowHttp=true"]
"""The least that a trial must say."""
ISSUER = ["settings.auth.issuers[0].url=https://iam.example.org", "settings.auth.issuers[0].audience=uws"]
ALL_VALUES = [
    *ISSUER, "replicas=3", "database.existingSecret=db", "depot.url=s3://bucket/p?endpoint=https://s3",
    "depot.existingSecret=s3", "ingress.enabled=true", "ingress.host=uws.example.org", "ingress.tlsSecret=tls",
    "gateway.enabled=true", "gateway.parentRefs[0].name=edge", "serviceMonitor.enabled=true",
    "serviceMonitor.from[0]=10.244.0.0/16", "prometheusRule.enabled=true", "autoscaling.enabled=true",
    "extraVolumes[0].name=more", "extraVolumes[0].emptyDir.sizeLimit=1Mi", "extraVolumeMounts[0].name=more",
    "extraVolumeMounts[0].mountPath=/more", "extraContainers[0].name=proxy", "extraContainers[0].image=proxy:1",
    "podLabels.team=astro", "priorityClassName=high",
    "dashboard.enabled=true", "site.queue=astro", "site.namespace=jobs", "kubeconfigs.existingSecret=sites",
    "applications.mine\\.yaml=name: mine", "networkPolicy.from[0].podSelector.matchLabels.app=edge",
    "image.pullSecrets[0]=registry", "apel.enabled=true", "apel.image=ghcr.io/apel/ssm:1", "apel.existingSecret=host",
]  # fmt: skip


def helm(*arguments: str, check: bool = True) -> str:
    """Run helm; what it prints, complaints included."""
    program = build.ensure("helm")["helm"]
    completed = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, timeout=180)
    assert not check or completed.returncode == 0, completed.stderr
    return completed.stdout if completed.returncode == 0 else completed.stderr


def template(*values: str, file: Path | None = None, check: bool = True) -> str:
    """Return the chart's objects with these values."""
    options = [word for value in values for word in ("--set", value)]
    files = ["-f", str(file)] if file is not None else []
    return helm("template", "uws", str(CHART), "--kube-version", build.KUBERNETES, *files, *options, check=check)


def objects_of(*values: str, file: Path | None = None) -> list[dict[str, Any]]:
    """Return the chart's objects as dictionaries."""
    return [document for document in yaml.safe_load_all(template(*values, file=file)) if document]


def settings_of(*values: str) -> dict[str, Any]:
    """Return the service's settings in the chart's Secret."""
    (secret,) = (
        document
        for document in objects_of(*values)
        if document["kind"] == "Secret" and "service.yaml" in document["stringData"]
    )
    settings: dict[str, Any] = yaml.safe_load(secret["stringData"]["service.yaml"])
    return settings


def test_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), "--set", ",".join(OPEN))


@pytest.mark.parametrize("values", [OPEN, ALL_VALUES], ids=["trial", "everything"])
def test_objects_are_valid(values: list[str]) -> None:
    """kubeconform, strictly, against the schemas of the Kubernetes that the tests run."""
    documents = [
        document for document in yaml.safe_load_all(template(*values)) if document and document["kind"] not in FOREIGN
    ]
    assert {"Deployment", "Role", "Service", "NetworkPolicy", "Secret"} <= {document["kind"] for document in documents}
    schemas.check(yaml.safe_dump_all(documents))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples(file: Path) -> None:
    """Examples of values make valid objects.

    Examples of objects are valid.
    """
    text = file.read_text() if "apiVersion" in file.read_text() else template(file=file)
    documents = [document for document in yaml.safe_load_all(text) if document and document["kind"] not in FOREIGN]
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
    complaint = template(*OPEN, value, check=False)
    assert "Error" in complaint and words in complaint


NETWORK = ["replicas=2", "database.existingSecret=db", "depot.url=s3://bucket/p?endpoint=https://s3"]
"""Several replicas whose state is elsewhere."""


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (["ingress.tlsSecret=tls"], "https://uws.example.org"),
        (["ingress.https=true", "ingress.path=/uws/"], "https://uws.example.org/uws"),
        (["ingress.path=/"], "http://uws.example.org"),
        (["ingress.tlsSecret=tls", "settings.base_url=https://other.example.org"], "https://other.example.org"),
    ],
)
def test_links_are_those_of_the_ingress(values: list[str], url: str) -> None:
    """Links in documents are the ones that callers can follow."""
    assert settings_of(*OPEN, "ingress.enabled=true", "ingress.host=uws.example.org", *values)["base_url"] == url


def test_links_are_those_of_the_gateway() -> None:
    """Its first host name counts."""
    gateway = ["gateway.enabled=true", "gateway.parentRefs[0].name=edge", "gateway.hostnames[0]=uws.example.org"]
    assert settings_of(*OPEN, *gateway)["base_url"] == "https://uws.example.org"
    assert settings_of(*OPEN, *gateway, "gateway.https=false")["base_url"] == "http://uws.example.org"
    assert "base_url" not in settings_of(*OPEN)


@pytest.mark.parametrize(
    "change", ["applications.mine\\.yaml=name: mine", "settings.log_level=debug", "database.url=postgresql://db/two"]
)
def test_what_is_read_at_start_starts_new_pods(change: str) -> None:
    """A changed application is one."""
    pods = [deployment_of(*OPEN, *values)["spec"]["template"] for values in ([], [change])]
    assert pods[0]["metadata"]["annotations"] != pods[1]["metadata"]["annotations"]


def deployment_of(*values: str) -> dict[str, Any]:
    """Return the chart's Deployment."""
    (deployment,) = (document for document in objects_of(*values) if document["kind"] == "Deployment")
    return deployment


def test_no_volume_where_all_state_is_elsewhere() -> None:
    """Replicas at different nodes could not share it."""
    kinds = {document["kind"] for document in objects_of(*OPEN, *NETWORK)}
    assert "PersistentVolumeClaim" not in kinds and "Deployment" in kinds
    assert not any("persistentVolumeClaim" in volume for volume in volumes_of(*OPEN, *NETWORK))
    assert any("persistentVolumeClaim" in volume for volume in volumes_of(*OPEN))
    shared = [*NETWORK[:2], "persistence.accessModes[0]=ReadWriteMany"]
    assert any("persistentVolumeClaim" in volume for volume in volumes_of(*OPEN, *shared))


def volumes_of(*values: str) -> list[dict[str, Any]]:
    """Return the volumes of the service's pods."""
    volumes: list[dict[str, Any]] = deployment_of(*values)["spec"]["template"]["spec"]["volumes"]
    return volumes


def test_prometheus_may_read() -> None:
    """Its addresses are in the settings, or the chart says that they are missing."""
    values = [*ISSUER, "site.agentUrl=https://uws.example.org", "serviceMonitor.enabled=true"]
    assert "Prometheus would get 401" in template(*values, check=False)
    settings = settings_of(*values, "serviceMonitor.from[0]=10.244.0.0/16")
    assert settings["auth"]["metrics_from"] == ["127.0.0.1", "::1", "10.244.0.0/16"]
    assert settings["auth"]["issuers"], "what the operator says beside stays"


def test_replicas_by_load() -> None:
    """They are not set by the Deployment then, and go to different nodes."""
    values = [*OPEN, *NETWORK[1:], "autoscaling.enabled=true"]
    spec = deployment_of(*values)["spec"]
    assert "replicas" not in spec and spec["template"]["spec"]["topologySpreadConstraints"]
    kinds = {document["kind"] for document in objects_of(*values)}
    assert {"HorizontalPodAutoscaler", "PodDisruptionBudget"} <= kinds
    assert "need PostgreSQL" in template(*OPEN, "autoscaling.enabled=true", check=False)


APEL = ["apel.enabled=true", "apel.image=registry.example.org/ssm@sha256:0", "apel.existingSecret=host-certificate"]


def test_messages_for_apel_are_sent_by_a_cron_job() -> None:
    """ACC-042: the service writes into a folder without subfolders, from which ssmsend takes; off unless asked for."""
    assert "CronJob" not in {document["kind"] for document in objects_of(*OPEN, *NETWORK)}
    documents = objects_of(*OPEN, *NETWORK, *APEL, "apel.months=3", "apel.host=msg.example.org")
    (job,) = (document for document in documents if document["kind"] == "CronJob")
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (messages,), (sender,) = spec["initContainers"], spec["containers"]
    words = messages["args"]
    assert words[:2] == ["usage", "publish"] and words[words.index("--months") + 1] == "3"
    folder = words[words.index("--folder") + 1]
    assert not spec["automountServiceAccountToken"] and sender["securityContext"]["readOnlyRootFilesystem"]
    assert sender["image"] == "registry.example.org/ssm@sha256:0"
    assert "env" not in sender, "it gets the messages and the certificate alone"
    (config,) = (document for document in documents if "sender.cfg" in document.get("data", {}))
    parser = ConfigParser()
    parser.read_string(config["data"]["sender.cfg"])
    assert parser["messaging"]["path"] == folder and parser["messaging"]["path_type"] == "directory"
    assert parser["broker"]["host"] == "msg.example.org"
    mounts = {mount["mountPath"] for mount in sender["volumeMounts"]}
    assert str(Path(parser["certificates"]["key"]).parent) in mounts and str(Path(folder).parent) in mounts
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in (messages, sender):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (APEL, "apel needs PostgreSQL"),
        ([*NETWORK, APEL[0], APEL[2]], "apel.image must name an image"),
        ([*NETWORK, APEL[0], APEL[2], "apel.image=registry:5000/ssm"], "apel.image must name an image"),
        ([*NETWORK, *APEL[:2]], "apel.existingSecret must name a Secret"),
        ([*NETWORK, *APEL, "apel.form=csv"], "form"),
    ],
)
def test_what_apel_lacks(values: list[str], words: str) -> None:
    complaint = template(*OPEN, *values, check=False)
    assert "Error" in complaint and words in complaint, complaint


def test_images_by_digest() -> None:
    """It wins over the tag, for jobs' agents too."""
    digest = "sha256:" + "0123456789abcdef" * 4
    values = [*OPEN, f"image.digest={digest}", "image.tag=v1"]
    (container,) = deployment_of(*values)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == settings_of(*values)["sites"][0]["agent_image"] == f"uws-service@{digest}"


def test_alerts_are_of_metrics_that_exist_and_have_a_runbook() -> None:
    """What fires at night says what to do."""
    (rule,) = (
        document
        for document in objects_of(*OPEN, "prometheusRule.enabled=true", "prometheusRule.runbook=https://docs/operate")
        if document["kind"] == "PrometheusRule"
    )
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "howto" / "operate.md").read_text(encoding="utf-8")
    alerts = rule["spec"]["groups"][0]["rules"]
    assert len(alerts) == len(yaml.safe_load((CHART / "alerts.yaml").read_text(encoding="utf-8"))["alerts"])
    for alert in alerts:
        names = re.findall(r"uws_[a-z_]+?(?=_bucket|\{|\))", alert["expr"])
        assert names or alert["alert"] == "UwsDown"
        assert all(f"`{name}`" in metrics for name in names), alert["expr"]
        assert 'job="uws"' in alert["expr"] and "JOB" not in alert["expr"]
        assert f"### {alert['alert']}\n" in runbook
        assert alert["annotations"]["runbook_url"] == f"https://docs/operate#{alert['alert'].lower()}"


def test_secrets_lie_in_secrets() -> None:
    """No secret of the settings is in an object that viewers of a namespace may read."""
    values = [
        *ISSUER, "site.agentUrl=https://uws.example.org", "settings.auth.issuers[0].client_secret=hush-1",
        "settings.auth.sealing_key=hush-2", "settings.database=postgresql://u:hush-3@db/x",
        "database.url=postgresql://u:hush-4@db/x",
    ]  # fmt: skip
    holders = {document["kind"] for document in objects_of(*values) if "hush-" in yaml.safe_dump(document)}
    assert holders == {"Secret"}
    assert all(f"hush-{number}" in template(*values) for number in (1, 2, 3, 4))


INNER = """0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 127.0.0.1 168.63.129.16
    169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.192 192.168.0.0 192.168.255.255 198.18.0.1 224.0.0.1 240.0.0.1
    255.255.255.255"""
OPEN_INTERNET = ["1.1.1.1", "168.63.129.17", "2606:4700:4700::1111", "64:ff9b::101:101"]


def test_jobs_reach_the_open_internet_alone() -> None:
    """What agents don't fetch from, the network keeps from commands too, in every form of the address."""
    (policy,) = (
        document
        for document in objects_of(*OPEN)
        if document["kind"] == "NetworkPolicy" and document["metadata"]["name"] == "uws-jobs"
    )
    blocks = [
        peer["ipBlock"]
        for rule in policy["spec"]["egress"]
        if "ports" not in rule
        for peer in rule["to"]
        if "ipBlock" in peer
    ]

    def is_reachable(text: str) -> bool:
        address = ip_address(text)
        return any(
            address in ip_network(block["cidr"]) and not any(address in ip_network(part) for part in block["except"])
            for block in blocks
        )

    addresses = ["::1", "::", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1", "2002:a9fe:a9fe::1", "2001:0:1::1"]
    for text in INNER.split():
        addresses += [text, f"::ffff:{text}", str(IPv6Address(int(IPv6Address("64:ff9b::")) + int(ip_address(text))))]
    for address in addresses:
        assert not is_public(address) or address.startswith("2001:"), address
        assert not is_reachable(address), address
    for address in OPEN_INTERNET:
        assert is_public(address) and is_reachable(address), address


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "name issuers of tokens in settings.auth.issuers, or set anonymous: true"),
        (["site.allowHttp=true", "settings.identity_header=X-User"], "or set anonymous: true"),
        (["site.allowHttp=true", "settings.auth.realm=x"], "or set anonymous: true"),
        ([*OPEN, *ISSUER], "anonymous: true contradicts settings.auth.issuers"),
        (["anonymous=yes"], "anonymous"),
        (["anonymous=true"], "agents would show their tokens over http://uws.default.svc"),
        ([*ISSUER], "set site.agentUrl to https://"),
        ([*ISSUER, "site.agentUrl=http://uws.example.org"], "over http://uws.example.org"),
        ([*ISSUER, "site.settings.agent_url=http://a.example.org"], "over http://a.example.org"),
        (
            [*ISSUER, "settings.sites[0].name=b", "settings.sites[0].agent_url=HTTP://b.example.org"],
            "over HTTP://b.example.org",
        ),
        ([*ISSUER, "site.allowHttp=true", "settings.auth.data_access[0].audience=d"], "agents get tokens for data"),
        ([*OPEN, "networkPolicy.dns=[]"], "dns"),
    ],
)
def test_what_is_not_safe_is_refused(values: list[str], words: str) -> None:
    """An open service and tokens over plain http must be asked for by name."""
    complaint = template(*values, check=False)
    assert "Error" in complaint and words in complaint, complaint


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (OPEN, "http://uws.default.svc"),
        (["site.allowHttp=true", *ISSUER, "service.port=81"], "http://uws.default.svc:81"),
        ([*ISSUER, "site.agentUrl=https://a.example.org"], "https://a.example.org"),
        (
            [
                *ISSUER,
                "ingress.enabled=true",
                "ingress.host=b.example.org",
                "ingress.tlsSecret=t",
                "ingress.path=/uws/",
            ],
            "https://b.example.org/uws",
        ),
        (
            ["env[0].name=UWS_AUTH__ISSUERS", "env[0].value=x", "site.agentUrl=https://a.example.org"],
            "https://a.example.org",
        ),
    ],
)
def test_where_agents_show_their_tokens(values: list[str], url: str) -> None:
    (site,) = settings_of(*values)["sites"]
    assert site["agent_url"] == url


def test_settings_of_the_chart_are_valid(tmp_path: Path) -> None:
    """The service itself takes what the chart writes."""
    for values in (OPEN, ALL_VALUES):
        file = tmp_path / "service.yaml"
        file.write_text(yaml.safe_dump(settings_of(*values)))
        assert Settings.load(file).sites[0].kind == "kubernetes"


def test_jobs_ask_only_the_servers_of_names() -> None:
    """Every rule for what leaves the jobs' pods says where to, and the default one means the cluster's DNS."""
    for values in (OPEN, ALL_VALUES):
        (policy,) = (
            document
            for document in objects_of(*values)
            if document["kind"] == "NetworkPolicy" and document["metadata"]["name"] == "uws-jobs"
        )
        rules = policy["spec"]["egress"]
        assert all(rule.get("to") for rule in rules)
        (names,) = (rule for rule in rules if rule.get("ports"))
        assert {port["port"] for port in names["ports"]} == {53}
        assert [list(peer) for peer in names["to"]] == [["namespaceSelector", "podSelector"], ["ipBlock"]]
        assert names["to"][1]["ipBlock"]["cidr"] == "169.254.20.10/32"


def test_the_memory_limit_holds_the_queries(tmp_path: Path) -> None:
    """What the service's own settings let synchronous queries take fits into the pod's limit; less is refused."""
    descriptor = "name: sky\nprotocol: tap\ntitle: T\ndescription: D\ncatalogue: {folder: x}\n"
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"applications": {"sky.yaml": descriptor}}))
    (tmp_path / "sky.yaml").write_text(descriptor)
    memory = load_application(tmp_path / "sky.yaml", STANDARDS).resources.memory
    need = Settings().query_processes * (memory + LOADING_BYTES) + 2**30
    (deployment,) = (document for document in objects_of(*OPEN, file=file) if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    assert limit >= need
    for value in ("resources.limits.memory=1Gi", "resources.limits.memory=5999M", "settings.query_processes=3"):
        complaint = template(*OPEN, value, file=file, check=False)
        assert "Error" in complaint and "synchronous queries" in complaint, value
    template(*OPEN, "resources.limits.memory=9Gi", "settings.query_processes=3", file=file)
    file.write_text(yaml.safe_dump({"applications": {"sky.yaml": f"{descriptor}resources: {{memory: 500MB}}\n"}}))
    template(*OPEN, "resources.limits.memory=3Gi", file=file)


def test_rights_are_of_one_namespace() -> None:
    """There is no right beyond need."""
    documents = [document for document in yaml.safe_load_all(template(*ALL_VALUES)) if document]
    assert not [document for document in documents if document["kind"].startswith("ClusterRole")]
    (role,) = (document for document in documents if document["kind"] == "Role")
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
    """Pass connections on to the pod.

    The test clusters have no Services of their own.
    """
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
    """With the chart's rights and no others.

    A job from RUN to its result, its log, and nothing left behind.
    """
    namespace, kubeconfig = "chart", str(site_a.kubeconfig)
    repository, tag = images.SERVICE.rsplit(":", 1)
    port = free_port()
    url = f"http://{site_a.host_address}:{port}"
    values = [
        f"image.repository={repository}", f"image.tag={tag}", "image.pullPolicy=Never", "persistence.enabled=false",
        f"site.agentUrl={url}", f"settings.base_url={url}", *OPEN,
    ]  # fmt: skip
    options = [word for value in values for word in ("--set", value)]
    target = ("--namespace", namespace, "--kubeconfig", kubeconfig)
    helm(
        "upgrade",
        "--install",
        "uws",
        str(CHART),
        *target,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
        *options,
    )
    try:
        (pod,) = site_a.get("pods", "-n", namespace, "-l", "app.kubernetes.io/name=uws-service")["items"]
        with _forwarder(site_a.host_address, port, pod["status"]["podIP"]), Client(url, "sleep") as client:
            job = client.create({"SECONDS": "0", "PHASE": "RUN"})
            document = client.ended(job)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            assert document["jobInfo"]["site"] == "cluster"
            assert client.http.get(document["results"][0]["href"]).status_code == 200
            assert client.http.get(f"{job}/logs/stdout").status_code == 200
            until(lambda: not objects(site_a, "jobs,pods", job, namespace), "the Job to go")
            aborted = client.create({"SECONDS": "90", "PHASE": "RUN"})
            client.wait(aborted, "EXECUTING")
            client.post(f"{aborted}/phase", {"PHASE": "ABORT"})
            until(lambda: not objects(site_a, "jobs,pods", aborted, namespace), "the aborted one to go")
        account = f"--as=system:serviceaccount:{namespace}:uws"
        for right in ("create pods", "get secrets", "list jobs -A", "delete deployments.apps", "create pods/exec"):
            output = site_a.kubectl("auth", "can-i", *right.split(), "-n", namespace, account, check=False)
            assert output.strip().startswith("no"), right
    finally:
        helm("uninstall", "uws", *target)
        site_a.kubectl("delete", "namespace", namespace, "--wait=false")
