"""A user's command that means harm.

What it tries from inside its container, and does not get.
"""

from __future__ import annotations

from tests.cluster.service import NAMESPACE, ClusterServer, job_id, objects
from tests.rig.site import Site

TRIES = r"""
try() {
    what="$1"; shift
    if out=$("$@" 2>/dev/null) && [ -n "$out" ]; then echo "GOT $what: $out"; else echo "no $what"; fi
}
try token cat /var/run/secrets/kubernetes.io/serviceaccount/token
try agent-token cat /var/run/uws-service/token
try agent-folder ls /uws/agent
try any-token find / -xdev -name 'token' -not -path '/proc/*' -not -path '/usr/*' -not -path '/opt/*'
try other-processes sh -c 'for p in /proc/[0-9]*; do tr "\0" " " < $p/cmdline; done | grep "[u]ws_service.agent"'
try secrets-in-environment sh -c 'env | grep -i -E "token|secret|key=|aws|password|postgres"'
try host-files ls /var/lib/kubelet
try containerd ls /run/containerd
try root sh -c 'id -u | grep "^0$"'
try write-root sh -c 'echo x > /etc/x && cat /etc/x'
try write-input sh -c 'echo x > /uws/input/x && cat /uws/input/x'
try capabilities sh -c 'grep CapEff /proc/self/status | grep -v "0000000000000000"'
try new-privileges sh -c 'grep NoNewPrivs /proc/self/status | grep -v 1'
try unconfined sh -c 'grep "^Seccomp:" /proc/self/status | grep -v 2'
try mount sh -c 'mount -t tmpfs none /mnt && echo mounted'
"""
NETWORK = r"""
import http.client, ssl, json, os, sys
def ask(name, connection, method, path, body=None, headers={}):
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        print("GOT" if answer.status < 300 else "no", name, answer.status)
    except Exception as error:
        print("no", name, type(error).__name__)
service = os.environ["UWS_PARAM_SERVICE"]
for path in ("claim", "progress", "report"):
    ask("agent-" + path, http.client.HTTPConnection(service, timeout=5), "POST", "/agent/v1/" + path, b"{}")
fake = "eyJhbGciOiJub25lIiwia2lkIjoiMSJ9.eyJpc3MiOiJ4In0."
ask("agent-with-fake-token", http.client.HTTPConnection(service, timeout=5), "POST", "/agent/v1/claim", b"{}",
    {"Authorization": "Bearer " + fake})
other = os.environ["UWS_PARAM_OTHER"]
ask("other-job", http.client.HTTPConnection(service, timeout=5), "GET", "/shell/async/" + other)
ask("other-result", http.client.HTTPConnection(service, timeout=5), "GET", "/shell/async/" + other + "/results/result")
context = ssl._create_unverified_context()
for path in ("/api/v1/namespaces/jobs/pods", "/apis/batch/v1/namespaces/jobs/jobs", "/api/v1/namespaces/jobs/secrets"):
    ask("cluster" + path, http.client.HTTPSConnection("10.96.0.1", timeout=5, context=context), "GET", path)
"""


def test_from_inside(service: ClusterServer) -> None:
    """No token, no key, no other job's file, no right of the cluster's API, no way out of the container."""
    with service.client(user="ada") as victim, service.client(user="eve") as eve:
        victim_job = victim.script("echo secret > $UWS_OUTPUT_DIR/result; echo secret")
        assert victim.ended(victim_job)["phase"] == "COMPLETED"
        host = service.url.removeprefix("http://")
        exports = f"export UWS_PARAM_SERVICE={host} UWS_PARAM_OTHER={job_id(victim_job)}\n"
        script = f"{exports}{TRIES}\npython - <<'END'\n{NETWORK}\nEND\n"
        # As a file: in the environment or on a command line the search would find itself.
        form = {"SCRIPT": "sh $UWS_INPUT_DIR/files/FILE", "PHASE": "RUN"}
        url = eve.post(eve.jobs, form, files={"FILE": ("tries.sh", script.encode())}).headers["location"]
        document = eve.ended(url)
        log = eve.log(url)
        assert document["phase"] == "COMPLETED", (document["errorSummary"], log)
    lines = log.splitlines()
    breaches = [line for line in lines if not line.startswith("no ")]
    assert not breaches, breaches
    assert len(lines) >= 24, log


def test_nothing_secret_in_the_objects(service: ClusterServer, site_a: Site) -> None:
    """What the cluster stores of a job holds no token and no key; its own account may do nothing there."""
    with service.client() as client:
        url = client.script("sleep 5")
        client.wait(url, "EXECUTING")
        (job,) = objects(site_a, "jobs", url)
        text = str(job).lower()
        assert "password" not in text and "aws_" not in text and "bearer" not in text
    account = f"--as=system:serviceaccount:{NAMESPACE}:default"
    for right in ("get pods", "list secrets", "create jobs", "get configmaps"):
        output = site_a.kubectl("auth", "can-i", *right.split(), "-n", NAMESPACE, account, check=False)
        assert output.strip() == "no", right
