"""Logs that a kubelet does not have.

Its message is no log.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from uws_service.sites.kubernetes.cluster import Cluster, Missing
from uws_service.sites.kubernetes.settings import KubernetesSite

SETTINGS = {"kind": "kubernetes", "name": "a", "namespace": "default", "agent_image": "x", "agent_url": "http://x"}
GONE = b"unable to retrieve container logs for containerd://" + b"1f" * 32
LOGS = {
    "/gone/": GONE,
    "/told/": GONE + b"\nand more that a command printed\n",
    "/plain/": b"started\n",
}

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: x
contexts: [{{name: x, context: {{cluster: x, user: x}}}}]
clusters: [{{name: x, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: x, user: {{token: x}}}}]
"""


class Answers(BaseHTTPRequestHandler):
    """Answers as an API server does that passes a kubelet's answer on."""

    def do_GET(self) -> None:
        """Send the log of the pod in the path."""
        content = next((text for name, text in LOGS.items() if name in self.path), b"")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Yield credentials for a server with three pods' logs.

    It stands beside the clusters of tests/cluster: there a container goes before its log is read in rare cases alone.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG.format(port=server.server_port))
    yield path
    server.shutdown()
    server.server_close()


@pytest.mark.anyio
async def test_message_in_place_of_a_log(kubeconfig: Path) -> None:
    cluster = Cluster(KubernetesSite(**{**SETTINGS, "kubeconfig": str(kubeconfig)}))
    await cluster.open()
    try:
        with pytest.raises(Missing, match="unable to retrieve"):
            [chunk async for chunk in cluster.log("gone", "command", limit=1000)]
        for pod in ("told", "plain"):
            assert b"".join([chunk async for chunk in cluster.log(pod, "command", limit=1000)]) == LOGS[f"/{pod}/"]
    finally:
        await cluster.close()
