"""Parts that fail for a while.

Nothing is lost, nothing runs twice, and the phases say what is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.service import NAMESPACE, ClusterServer, job_id, objects, settings_of, until
from tests.rig.site import Site

WORK = "echo begun; sleep {}; echo x > $UWS_OUTPUT_DIR/result"


@pytest.fixture
def server(site_a: Site, folder: Path) -> Iterator[ClusterServer]:
    """Yield a service of the test's own, on a namespace of the test's own."""
    server = ClusterServer(folder, [settings_of(site_a)], site_a.host_address)
    server.start()
    yield server
    server.stop()
    for component in ("kube-apiserver", "kubelet", "kube-controller-manager", "kube-scheduler"):
        if not site_a.alive(component):
            site_a.start(component)


def _once(site: Site, url: str) -> None:
    """Check that only one Job was ever made.

    By the API server's own account.
    """
    creations = {name: count for name, count in site.job_creations(NAMESPACE).items() if job_id(url) in name}
    assert creations == {f"uws-{job_id(url)}-1": 1}


def test_api_server_away(server: ClusterServer, site_a: Site) -> None:
    """The jobs are UNKNOWN, not lost.

    What waits, waits; all end well when it is back, each in its first attempt.
    """
    with server.client() as client:
        running = client.script(WORK.format(8))
        client.wait(running, "EXECUTING")
        site_a.kill("kube-apiserver")
        client.wait(running, "UNKNOWN")
        assert "can't be reached" in client.json(running)["jobInfo"]["waiting"]
        late = client.script(WORK.format(0))
        aborted = client.script(WORK.format(60))
        assert client.post(f"{aborted}/phase", {"PHASE": "ABORT"}).status_code == 303
        site_a.start("kube-apiserver")
        for url in (running, late):
            document = client.ended(url)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            assert [result["id"] for result in document["results"]] == ["result"]
            _once(site_a, url)
        until(lambda: not objects(site_a, "jobs,pods", aborted), "the aborted job to be gone")
        assert client.phase(aborted) == "ABORTED"


def test_service_killed(server: ClusterServer, site_a: Site) -> None:
    """Killed while jobs start, run and end.

    The next one goes on where it stood.
    """
    with server.client() as client:
        urls = [client.script(WORK.format(seconds)) for seconds in (0, 2, 4, 8)]
        client.wait(urls[1], "EXECUTING", "COMPLETED")
        server.kill()
        server.start()
        for url in urls:
            document = client.ended(url)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            assert [result["id"] for result in document["results"]] == ["result"]
            _once(site_a, url)


@pytest.mark.soak
def test_credentials_expire(site_a: Site, folder: Path) -> None:
    """An expired token is told in words.

    A new one in the same file heals it without a restart.
    """
    site_a.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "driver", "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "driver", "namespace": NAMESPACE},
            "rules": [
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "driver", "namespace": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "driver"},
            "subjects": [{"kind": "ServiceAccount", "name": "driver", "namespace": NAMESPACE}],
        },
    )
    kubeconfig = folder.parent / "kubeconfig"
    kubeconfig.write_text(site_a.kubeconfig_for("driver", NAMESPACE, 15).read_text())
    server = ClusterServer(folder, [settings_of(site_a, kubeconfig=str(kubeconfig))], site_a.host_address)
    server.start()
    try:
        with server.client() as client:
            running = client.script(WORK.format(60))
            client.wait(running, "EXECUTING")
            client.wait(running, "UNKNOWN")
            until(lambda: "does not accept our credentials" in server.log.read_text(), "the reason in the log")
            kubeconfig.write_text(site_a.kubeconfig_for("driver", NAMESPACE, 3600).read_text())
            document = client.ended(running)
            assert document["phase"] == "COMPLETED", document["errorSummary"]
            _once(site_a, running)
    finally:
        server.stop()


@pytest.mark.soak
def test_node_gone(server: ClusterServer, site_a: Site) -> None:
    """The machine dies and is taken out of the cluster: a second attempt, told as what it is."""
    with server.client() as client:
        url = client.script(WORK.format(5))
        client.wait(url, "EXECUTING")
        node = site_a.get("nodes")["items"][0]["metadata"]["name"]
        site_a.kill("kubelet")
        site_a.kubectl("delete", "node", node)
        document = until(
            lambda: (current := client.json(url))["jobInfo"].get("lost") and current,
            "the loss to be noticed",
            seconds=180,
        )
        assert [attempt["reason"] for attempt in document["jobInfo"]["lost"]] == ["NodeLost"], json.dumps(
            document["jobInfo"]
        )
        site_a.start("kubelet")
        assert client.ended(url)["phase"] == "COMPLETED"
        assert client.json(url)["jobInfo"]["attempt"] == 2
