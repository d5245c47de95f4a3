"""A runner in front of a real cluster whose network lets nothing in: all calls go from there to the service, by TLS."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pyvo

from tests.cluster.service import APPLICATIONS, NAMESPACE, Client, job_id, settings_of, until
from tests.rig.pki import Authority
from tests.rig.site import Site
from tests.runner.programs import Runner, Wire
from tests.server import Server, free_port
from tests.tiers import lacking
from uws_service.sites.remote.keys import digest_of, new_key

ALFALFA = Path(__file__).resolve().parents[2] / "uws_service/apps/data/alfalfa.csv"
WORK = "echo begun; sleep {}; echo answer > $UWS_OUTPUT_DIR/result"
CHAINS = ("INPUT", "FORWARD")
RULE = "-i eth0 -m conntrack --ctstate NEW -j DROP"


@dataclass
class Far:
    """The service, the cluster, and the runner in the cluster's network."""

    server: Server
    site: Site
    runner: Runner
    wire: Wire

    def start_runner(self) -> None:
        """Start the runner in the network of the cluster."""
        self.runner.start(self.site.namespaces.entering("net"))

    def client(self, application: str = "shell") -> Client:
        """Return a client of one application."""
        return Client(self.server.url, application)


@pytest.fixture(scope="module")
def far(site_a: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    if shutil.which("iptables") is None:
        lacking("iptables not found: Debian has it in the package iptables")
    folder = tmp_path_factory.mktemp("far")
    key, relay = new_key(), free_port()
    own = {"name": "far", "kind": "remote", "slots": 20, "keys": [digest_of(key)], "images": True, "unknown_after": 1}
    config = {"applications": [str(APPLICATIONS)], "sites": [own], "fetch": {"allow_private": True}}
    server = Server(folder / "service", config=json.dumps(config))
    authority = Authority(folder / "pki")
    authority.issue("service", "service", hosts=[site_a.host_address])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pki" / "service.crt", folder / "pki" / "service.key")
    wire = Wire(server.port, site_a.host_address, context)
    local = settings_of(site_a, agent_url=f"http://{site_a.address}:{relay}")
    del local["name"], local["unknown_after"]
    runner = Runner(
        folder / "runner",
        0,
        key,
        service=f"https://{site_a.host_address}:{wire.port}",
        ca=str(authority.certificate),
        local=local,
        relay={"port": relay},
    )
    inside = site_a.namespaces.entering("net")
    for chain in CHAINS:
        subprocess.run([*inside, "iptables", "-I", chain, *RULE.split()], check=True)
    far = Far(server, site_a, runner, wire)
    try:
        server.start()
        far.start_runner()
        yield far
    finally:
        runner.stop()
        server.stop()
        wire.close()
        for chain in CHAINS:
            subprocess.run([*inside, "iptables", "-D", chain, *RULE.split()], check=True)


def creations(far: Far, url: str) -> dict[str, int]:
    """Return how often each Job of a job was made, by the API server's own account."""
    return {name: count for name, count in far.site.job_creations(NAMESPACE).items() if job_id(url) in name}


def test_nothing_gets_in(far: Far) -> None:
    """From this machine neither the API server nor the relay can be called."""
    for port in (443, json.loads(far.runner.config.read_text())["relay"]["port"]):
        with pytest.raises(TimeoutError):
            socket.create_connection((far.site.address, port), 2)


def test_crossmatch_by_pyvo(far: Far) -> None:
    with far.client("crossmatch") as client:
        answer = client.post(
            client.jobs,
            {"UPLOAD": "mine,param:table", "RADIUS": "60", "PHASE": "RUN"},
            files={"table": ("alfalfa.csv", ALFALFA.read_bytes(), "text/csv")},
        )
        url = answer.headers["location"]
        job = pyvo.dal.AsyncTAPJob(url)
        job.wait(phases=["COMPLETED", "ERROR", "ABORTED"], timeout=240)
        document = client.json(url)
        assert job.phase == "COMPLETED", (document["errorSummary"], far.runner.text()[-3000:])
        assert len(client.http.get(job.result_uri).content) > 0
        assert document["jobInfo"]["site"] == "far" and document["jobInfo"]["attempt"] == 1
        assert client.http.get(f"{url}/logs/stdout").status_code == 200
        assert creations(far, url) == {f"uws-{job_id(url)}-1": 1}


def test_failure_and_abort(far: Far) -> None:
    with far.client() as client:
        failed = client.script("echo no luck; exit 3")
        aborted = client.script(WORK.format(120))
        document = client.ended(failed)
        assert document["phase"] == "ERROR" and "no luck" in json.dumps(document["errorSummary"])
        client.wait(aborted, "EXECUTING")
        until(lambda: "begun" in client.log(aborted), "the log while it runs")
        assert client.post(f"{aborted}/phase", {"PHASE": "ABORT"}).status_code == 303
        until(lambda: far.site.job_deletions(NAMESPACE)[f"uws-{job_id(aborted)}-1"], "the Job's deletion")


@pytest.mark.parametrize("killed", [False, True])
def test_results_of_a_cut(far: Far, killed: bool) -> None:
    """What ends while the link is cut is kept at the site, also if its runner dies meanwhile."""
    with far.client() as client:
        job = client.script(WORK.format(8))
        client.wait(job, "EXECUTING")
        far.wire.cut()
        until(lambda: f"job={job_id(job)}" in far.runner.text().rpartition("a report is kept")[2], "the report", 120)
        if killed:
            far.runner.kill()
            far.start_runner()
        assert client.wait(job, "UNKNOWN") == "UNKNOWN"
        far.wire.mend()
        document = client.ended(job, 180)
        assert document["phase"] == "COMPLETED", (document["errorSummary"], far.runner.text()[-3000:])
        assert client.http.get(f"{job}/results/result").text == "answer\n"
        assert client.log(job) == "begun\n"
        assert creations(far, job) == {f"uws-{job_id(job)}-1": 1}
