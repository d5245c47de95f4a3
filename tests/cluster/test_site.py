"""What a site promises to those who test with it: a real cluster, reached both ways, that can be broken and mended."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import temporary_namespace
from tests.cluster.jobs import conditions, job, log, wait_complete
from tests.rig import images
from tests.rig.cluster import Cluster
from tests.rig.errors import ClusterError
from tests.rig.processes import wait_for
from tests.rig.site import Site

# Seconds in which what must not happen would have happened many times over: no condition can be waited for there.
SETTLE_SECONDS = 2
RESTRICTED = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}


@pytest.fixture
def own_namespace(site_a: Site) -> Iterator[str]:
    """Yield a namespace of its own on the first site, also when ``cluster`` is another."""
    yield from temporary_namespace(site_a)


def test_node_is_ready(cluster: Cluster) -> None:
    """There is a node, and it takes pods."""
    nodes = cluster.get("nodes")["items"]
    ready = [
        condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    assert "True" in ready


def test_job_completes_and_its_log_is_read(cluster: Cluster, namespace: str) -> None:
    """A plain Job runs in a container."""
    cluster.apply(job("hello", namespace, cluster.busybox, "sh", "-c", "echo hello from $HOSTNAME"))
    wait_complete(cluster, "hello", namespace)
    assert log(cluster, "hello", namespace).startswith("hello from hello-")


def test_failed_job_is_told_at_once(cluster: Cluster, namespace: str) -> None:
    """A failed Job ends the wait."""
    cluster.apply(job("fails", namespace, cluster.busybox, "sh", "-c", "echo so sad; exit 3"))
    with pytest.raises(ClusterError, match=r"(?s)it failed.*so sad"):
        wait_complete(cluster, "fails", namespace)


def test_images_of_this_checkout(site_a: Site, own_namespace: str) -> None:
    """The image runs service and application.

    The agent's has the agent, and no more.
    """
    volumes = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
    script = (
        "set -e; id -u; python -I -m uws_service --help; UWS_OUTPUT_DIR=/tmp python -m uws_service.apps.sleep "
        "--seconds=0 --exit=0 --output=7; cat /tmp/result | wc -c; python -c 'import scipy, astropy.table, pyongc'; "
        "! touch /opt/uws/x"
    )
    manifest = job("service", own_namespace, images.SERVICE, "sh", "-c", script, pod={**RESTRICTED, **volumes})
    small = job("agent", own_namespace, images.AGENT, "python", "-Ic", "import uws_service.agent.pod", pod=RESTRICTED)
    none = job("none", own_namespace, images.AGENT, "python", "-Ic", "import uws_service.cli", pod=RESTRICTED)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    site_a.apply(manifest, small, none)
    wait_complete(site_a, "service", own_namespace)
    wait_complete(site_a, "agent", own_namespace)
    lines = log(site_a, "service", own_namespace).splitlines()
    assert lines[0] == "65534" and "7" in lines
    with pytest.raises(ClusterError, match=r"No module named 'uws_service\.cli'"):
        wait_complete(site_a, "none", own_namespace)


class Greeter:
    """An HTTP server on one address of this machine that counts who asked for what."""

    def __init__(self, address: str) -> None:
        paths = self.requests = []  # type: list[str]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"greetings")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Greeter:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def ask(address: str, port: int, path: str = "/") -> str:
    """Return a shell command that sends one request (the wget of Debian's static busybox can't)."""
    return f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} {port}"


def test_pod_reaches_a_server_on_this_machine(site_a: Site, own_namespace: str) -> None:
    """A pod asks a server at ``host_address``.

    Gets its answer.
    """
    with Greeter(site_a.host_address) as greeter:
        command = ask(site_a.host_address, greeter.port, "/from-a-pod")
        site_a.apply(job("asks", own_namespace, images.BUSYBOX, "sh", "-c", command))
        wait_complete(site_a, "asks", own_namespace)
    assert greeter.requests == ["/from-a-pod"]
    assert "greetings" in log(site_a, "asks", own_namespace)


def test_pod_reaches_nothing_else(site_a: Site, own_namespace: str) -> None:
    """There is no way from a site to the world: a documentation address has no route, by whatever way."""
    script = f"{ask('198.51.100.1', 80)} && exit 1; nc -w 2 -z {site_a.host_address} 9; ip route get 198.51.100.1; true"
    site_a.apply(job("lost", own_namespace, images.BUSYBOX, "sh", "-c", script))
    wait_complete(site_a, "lost", own_namespace)
    assert site_a.namespaces.in_network(lambda: _route("198.51.100.1")) == "unreachable"


def _route(address: str) -> str:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 80))
        except OSError:
            return "unreachable"
    return "reachable"


def test_pod_uses_the_api_by_its_service(site_a: Site, own_namespace: str) -> None:
    """Clients in the cluster find the API server where Kubernetes says it is, without rights by default."""
    script = (
        "import os,ssl,urllib.request as u,urllib.error as e;p='/var/run/secrets/kubernetes.io/serviceaccount/';"
        + (
            "c=ssl.create_default_context(cafile=p+'ca.crt');h='https://'+os.environ['KUBERNETES_SERVICE_HOST'];"
            "t={'Authorization':'Bearer '+open(p+'token').read()};"
            "print(u.urlopen(u.Request(h+'/version',headers=t),context=c).status)\n"
            "try: u.urlopen(u.Request(h+'/api/v1/secrets',headers=t),context=c)\n"
            "except e.HTTPError as x: print(x.code)"
        )
    )
    site_a.apply(job("client", own_namespace, images.AGENT, "python", "-c", script))
    wait_complete(site_a, "client", own_namespace)
    assert log(site_a, "client", own_namespace).split() == ["200", "403"]


def test_cut_and_mend(site_a: Site, own_namespace: str) -> None:
    """A cut loses packets both ways while the site itself goes on; after mending all is as before."""
    with Greeter(site_a.host_address) as greeter:
        loop = f"while :; do {ask(site_a.host_address, greeter.port)} >/dev/null; sleep 0.2; done"
        site_a.apply(job("asks", own_namespace, images.BUSYBOX, "sh", "-c", loop))
        wait_for("a first request", lambda: greeter.requests, 60)
        site_a.cut()
        try:
            assert site_a.is_cut
            with pytest.raises(ClusterError, match="kubectl get"):
                site_a.kubectl("get", "nodes", "--request-timeout=2s")
            before = len(greeter.requests)
            assert all(site_a.ready(component) for component in ("kube-apiserver", "kubelet", "kube-scheduler"))
            # That nothing comes can't be waited for: this is fifteen times the pause between two requests.
            time.sleep(3)
            assert len(greeter.requests) == before
        finally:
            site_a.mend()
        assert not site_a.is_cut
        assert site_a.get("nodes")["items"]
        wait_for("a request after mending", lambda: greeter.requests[before:], 30)


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_killed_api_comes_back_with_everything(site_a: Site, own_namespace: str, component: str) -> None:
    """Without it nothing answers.

    Started again, it knows what it knew, and the others find it.
    """
    site_a.kubectl("create", "configmap", "kept", "-n", own_namespace)
    site_a.kill(component)
    assert not site_a.alive(component)
    with pytest.raises(ClusterError):
        site_a.kubectl("get", "configmap", "kept", "-n", own_namespace, "--request-timeout=2s")
    site_a.start(component)
    wait_for("the API server", lambda: site_a.ready("kube-apiserver"), 60)
    assert site_a.get("configmap", "kept", "-n", own_namespace)
    site_a.apply(job("after", own_namespace, images.BUSYBOX, "true"))
    wait_complete(site_a, "after", own_namespace, timeout=120)


def test_killed_controller_manager(site_a: Site, own_namespace: str) -> None:
    """Without it a Job gets no pod.

    With it again, it does.
    """
    site_a.kill("kube-controller-manager")
    site_a.apply(job("later", own_namespace, images.BUSYBOX, "true"))
    time.sleep(SETTLE_SECONDS)
    assert not site_a.get("pods", "-n", own_namespace)["items"]
    site_a.start("kube-controller-manager")
    wait_complete(site_a, "later", own_namespace)


@pytest.mark.parametrize("component", ["kubelet", "kube-scheduler", "containerd"])
def test_stopped_and_started(site_a: Site, own_namespace: str, component: str) -> None:
    """Without it a pod does not start.

    With it again, it does.
    """
    site_a.stop_component(component)
    assert not site_a.alive(component)
    site_a.apply(job("later", own_namespace, images.BUSYBOX, "true"))
    wait_for("the pod", lambda: site_a.get("pods", "-n", own_namespace)["items"], 30)
    time.sleep(SETTLE_SECONDS)
    (pod,) = site_a.get("pods", "-n", own_namespace)["items"]
    assert pod["status"]["phase"] == "Pending"
    site_a.start(component)
    wait_complete(site_a, "later", own_namespace, timeout=120)


def test_wrong_component_is_named(site_a: Site) -> None:
    """The message lists the components."""
    with pytest.raises(ClusterError, match=r"'kubelets' is no component; there are: etcd, .*kubelet"):
        site_a.kill("kubelets")
    with pytest.raises(ClusterError, match="kubelet of site a runs already"):
        site_a.start("kubelet")


def test_audit_log_counts(site_a: Site, own_namespace: str) -> None:
    """The API server's acts are counted.

    Not a creation that it refused.
    """
    for _ in range(2):
        site_a.apply(job("twice", own_namespace, images.BUSYBOX, "true"))
        site_a.kubectl("delete", "job", "twice", "-n", own_namespace)
    site_a.apply(job("once", own_namespace, images.BUSYBOX, "true"))
    answer = site_a.kubectl("create", "job", "once", f"--image={images.BUSYBOX}", "-n", own_namespace, check=False)
    assert "already exists" in answer
    assert site_a.job_creations(own_namespace) == {"twice": 2, "once": 1}
    assert site_a.job_deletions(own_namespace) == {"twice": 2}
    assert sum(site_a.audited("create", "pods", own_namespace).values()) in (1, 2, 3)


def test_tokens_of_service_accounts(site_a: Site, own_namespace: str) -> None:
    """An account's kubeconfig has its rights.

    A short one ends.
    """
    site_a.kubectl("create", "serviceaccount", "reader", "-n", own_namespace)
    site_a.kubectl("create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={own_namespace}:reader",
                   "-n", own_namespace)  # fmt: skip
    issued = Cluster(site_a.kubeconfig_for("reader", own_namespace), images.BUSYBOX)
    wait_for("the rights", lambda: issued.kubectl("auth", "can-i", "list", "jobs", check=False) == "yes\n", 10)
    assert "forbidden" in issued.kubectl("get", "nodes", check=False)
    assert "forbidden" in issued.kubectl("create", "configmap", "x", check=False)
    short = Cluster(site_a.kubeconfig_for("reader", own_namespace, lifetime=3), images.BUSYBOX)
    short.get("jobs")
    wait_for("the token's end", lambda: "Unauthorized" in short.kubectl("get", "jobs", check=False), 30, every=0.5)


def test_two_sites_know_nothing_of_each_other(site_a: Site, site_b: Site) -> None:
    """Two sites run side by side, each with addresses, users and jobs of its own; one is cut, the other is not."""
    assert site_a.address != site_b.address and site_a.host_address != site_b.host_address
    for site in (site_a, site_b):
        for namespace in temporary_namespace(site):
            site.apply(job("here", namespace, images.BUSYBOX, "true"))
            wait_complete(site, "here", namespace)
            assert site.job_creations(namespace) == {"here": 1}
    account = Cluster(site_a.kubeconfig_for("default", "default"), images.BUSYBOX)
    assert "system:serviceaccount:default:default" in account.kubectl("auth", "whoami")
    other_site = ("--server", site_b.server, "--certificate-authority", site_b.layout.certificate("ca.crt"))
    assert "Unauthorized" in account.kubectl(*other_site, "auth", "whoami", check=False)
    site_a.cut()
    try:
        assert site_b.get("nodes")["items"][0]["metadata"]["name"] == "node-b"
    finally:
        site_a.mend()
    assert "Ready" in conditions(site_a, "node", "node-a", "default")
