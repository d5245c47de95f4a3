"""One complete single-node Kubernetes cluster on this machine: real components, in a network namespace of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import images
from tests.cluster.building import built
from tests.cluster.network import Network
from tests.cluster.paths import STATE
from tests.cluster.pki import Authority, Pair
from tests.cluster.processes import Processes

PORT = 6443
SERVICES = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"
ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet")
"""The components, in the order in which they start; they end in reverse."""
CGROUPS = Path("/sys/fs/cgroup")
SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""What the kubelet changes on the whole machine; put back when the last site goes."""
NODE = "node"
_AUDIT = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, delete, deletecollection, update, patch]
  resources: [{group: batch, resources: [jobs]}, {group: "", resources: [pods]}]
- level: None
"""


class Site:
    """A cluster by its name; `up` makes it or finds it running.

    Attributes
    ----------
    kubeconfig
        File with the rights of a cluster administrator.
    host_address
        The address at which the site's pods reach servers on this machine.
    """

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.network = Network(name, index)
        self.folder = STATE / name
        self.processes = Processes(self.folder)
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.audit_log = self.folder / "audit.log"
        self.address = self.network.address
        self.host_address = self.network.host_address
        self.url = f"https://{self.address}:{PORT}"

    # -- finding and making ----------------------------------------------------------------------------------------

    @classmethod
    def find(cls, name: str) -> Site | None:
        """The site of this name if it runs."""
        site = cls(name, _index(name))
        return site if all(site.alive(one) for one in ORDER) else None

    @classmethod
    def up(cls, name: str, *, say: Callable[[str], None] = print) -> Site:
        """The site of this name, ready for pods."""
        found = cls.find(name)
        if found is not None:
            return found
        site = cls(name, _index(name))
        began = time.monotonic()
        program = built("kubernetes")
        if site.folder.exists():
            site.down()
        _remember_sysctls()
        site.folder.mkdir(parents=True)
        (site.folder / "index").write_text(str(site.network.index))
        try:
            site._prepare(program)
            for component in ORDER:
                site.start(component)
            site._wait("the node to be ready", site._node_is_ready, 90)
            site.import_image(images.busybox())
            site._wait("the default service account", site._has_account, 30)
        except BaseException:
            if not os.environ.get("UWS_CLUSTER_KEEP"):
                site.down()
            raise
        say(f"site {name} is up after {time.monotonic() - began:.1f} s")
        return site

    def _prepare(self, program: Path) -> None:
        self.network.up()
        self.network.configuration(self.folder / "cni")
        authority = Authority(self.folder / "pki")
        hosts = ["localhost", "127.0.0.1", self.address, "kubernetes", "kubernetes.default",
                 "kubernetes.default.svc", "10.96.0.1"]  # fmt: skip
        authority.issue("apiserver", "kube-apiserver", hosts=hosts)
        authority.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
        authority.issue(
            "kubelet", f"system:node:{NODE}", ["system:nodes"], [NODE, "localhost", "127.0.0.1", self.address]
        )
        authority.signing_key("accounts")
        clients = {
            "admin": ("admin", ["system:masters"], self.url),
            "kube-controller-manager": ("system:kube-controller-manager", [], f"https://127.0.0.1:{PORT}"),
            "kube-scheduler": ("system:kube-scheduler", [], f"https://127.0.0.1:{PORT}"),
        }
        for file, (name, groups, server) in clients.items():
            self._write_kubeconfig(file, authority.issue(file, name, groups), server)
        kubelet = Pair(self.folder / "pki/kubelet.crt", self.folder / "pki/kubelet.key")
        self._write_kubeconfig("kubelet", kubelet, f"https://127.0.0.1:{PORT}")
        for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "etcd", "kubectl"):
            wrapper = self.folder / component
            wrapper.write_text(f'#!/bin/sh\nexec "{program}" {component} "$@"\n')
            wrapper.chmod(0o755)
        (self.folder / "audit-policy.yaml").write_text(_AUDIT)
        (self.folder / "containerd.toml").write_text(self._containerd_toml())
        (self.folder / "kubelet.yaml").write_text(json.dumps(self._kubelet_configuration()))
        _make_cgroups(f"uwsk-{self.name}")

    def _write_kubeconfig(self, file: str, pair: Pair, server: str) -> None:
        user = {
            "client-certificate-data": _base64(pair.certificate),
            "client-key-data": _base64(pair.key),
        }
        path = self.folder / f"{file}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._kubeconfig(server, user)))

    def _kubeconfig(self, server: str, user: Mapping[str, str], namespace: str = "default") -> dict[str, Any]:
        cluster = {"server": server, "certificate-authority-data": _base64(self.folder / "pki/ca.crt")}
        context = {"cluster": self.name, "user": "user", "namespace": namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.name,
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": "user", "user": dict(user)}],
            "contexts": [{"name": self.name, "context": context}],
        }

    def _containerd_toml(self) -> str:
        run = self.folder / "run"
        return f"""version = 2
root = "{self.folder}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/local/pause:1"
  disable_tcp_service = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def _kubelet_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self.folder}/pki/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{self.folder}/pki/kubelet.crt",
            "tlsPrivateKeyFile": f"{self.folder}/pki/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{self.folder}/run/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/uwsk-{self.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "clusterDomain": "cluster.local",
            "podLogsDir": f"{self.folder}/pods",
            "maxPods": 250,
            "registerNode": True,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "4s",
            "nodeLeaseDurationSeconds": 20,
            "syncFrequency": "10s",
            "serializeImagePulls": False,
            "localStorageCapacityIsolation": True,
        }

    # -- components ------------------------------------------------------------------------------------------------

    def start(self, component: str) -> None:
        """Start a component, and return when it serves."""
        if self.alive(component):
            return
        command = self._commands()[component]
        self.processes.start(component, [*self.network.enter(), *command])
        check = {
            "etcd": lambda: self._answers("http://127.0.0.1:2379/health"),
            "kube-apiserver": self._apiserver_is_ready,
            "containerd": lambda: self._ctr("version"),
        }.get(component)
        if check is not None:
            self._wait(f"{component} to serve", check, 90, component)

    def _commands(self) -> dict[str, list[str]]:
        here, pki = str(self.folder), str(self.folder / "pki")
        fast = ["--kube-api-qps=400", "--kube-api-burst=800"]
        local = ["--bind-address=127.0.0.1", "--leader-elect=false"]
        return {
            "etcd": [
                f"{here}/etcd", f"--data-dir={here}/etcd-data", "--unsafe-no-fsync", "--logger=zap",
                "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380", "--quota-backend-bytes=2147483648",
                "--auto-compaction-retention=5m", "--log-level=warn",
            ],
            "kube-apiserver": [
                f"{here}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--secure-port={PORT}",
                "--bind-address=0.0.0.0", f"--advertise-address={self.address}",
                f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
                f"--kubelet-client-key={pki}/apiserver-kubelet.key",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                "--kubelet-preferred-address-types=InternalIP,Hostname",
                "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                f"--service-account-issuer={ISSUER}", f"--service-account-key-file={pki}/accounts.pub",
                f"--service-account-signing-key-file={pki}/accounts.key", f"--service-cluster-ip-range={SERVICES}",
                "--endpoint-reconciler-type=none", "--allow-privileged=true",
                f"--audit-policy-file={here}/audit-policy.yaml", f"--audit-log-path={self.audit_log}",
                "--audit-log-maxsize=1000", "--shutdown-delay-duration=0s",
            ],
            "kube-controller-manager": [
                f"{here}/kube-controller-manager", f"--kubeconfig={here}/kube-controller-manager.kubeconfig",
                f"--authentication-kubeconfig={here}/kube-controller-manager.kubeconfig",
                f"--authorization-kubeconfig={here}/kube-controller-manager.kubeconfig",
                "--use-service-account-credentials", f"--root-ca-file={pki}/ca.crt",
                f"--service-account-private-key-file={pki}/accounts.key", *local, *fast,
                "--concurrent-job-syncs=20", "--concurrent-gc-syncs=20", "--node-monitor-grace-period=25s",
                "--node-monitor-period=2s",
            ],
            "kube-scheduler": [
                f"{here}/kube-scheduler", f"--kubeconfig={here}/kube-scheduler.kubeconfig",
                f"--authentication-kubeconfig={here}/kube-scheduler.kubeconfig",
                f"--authorization-kubeconfig={here}/kube-scheduler.kubeconfig", *local, *fast,
            ],
            "containerd": ["containerd", "--config", f"{here}/containerd.toml"],
            "kubelet": [
                f"{here}/kubelet", f"--config={here}/kubelet.yaml", f"--kubeconfig={here}/kubelet.kubeconfig",
                f"--root-dir={here}/kubelet-data", f"--hostname-override={NODE}", f"--node-ip={self.address}",
            ],
        }  # fmt: skip

    def alive(self, component: str) -> bool:
        """Whether a component's process lives."""
        return self.processes.pid(component) is not None

    def kill(self, component: str, kind: int = signal.SIGKILL) -> None:
        """End a component without mercy; `start` brings it back."""
        self.processes.end(component, kind=kind)

    def cut(self) -> None:
        """Part the site from this machine: neither hears of the other, while both go on."""
        self.network.cut()

    def mend(self) -> None:
        """Join them again."""
        self.network.mend()

    # -- use -------------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator; its output."""
        done = subprocess.run(
            [str(self.folder / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=given, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make or change objects."""
        self.kubectl("apply", "--server-side", "-f", "-", given="\n---\n".join(json.dumps(one) for one in objects))

    def get(self, *arguments: str) -> Any:
        """What ``kubectl get … -o json`` shows."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def import_image(self, archive: Path) -> None:
        """Make an image known to the node."""
        mark = self.folder / "imported" / archive.name
        if mark.exists():
            return
        self._ctr("-n", "k8s.io", "images", "import", "--digests=false", str(archive), timeout=300)
        mark.parent.mkdir(exist_ok=True)
        mark.touch()

    def kubeconfig_for(self, account: str, namespace: str, *, seconds: int = 3600) -> Path:
        """A kubeconfig with a token of a service account."""
        token = self.kubectl("create", "token", account, "-n", namespace, f"--duration={seconds}s").strip()
        path = self.folder / f"{namespace}-{account}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._kubeconfig(self.url, {"token": token}, namespace)))
        return path

    def audited(self, verb: str, resource: str = "jobs", namespace: str | None = None) -> Counter[str]:
        """How often the API server carried out a request, by the object's name: its own word, the audit log."""
        found: Counter[str] = Counter()
        with self.audit_log.open() as log:
            for line in log:
                event = json.loads(line)
                thing = event.get("objectRef", {})
                done = event["stage"] == "ResponseComplete" and event.get("responseStatus", {}).get("code", 0) < 300
                here = namespace in (None, thing.get("namespace"))
                if done and here and event["verb"] == verb and thing.get("resource") == resource:
                    found[thing.get("name", "")] += 1
        return found

    # -- ending ----------------------------------------------------------------------------------------------------

    def down(self) -> None:
        """End everything and remove all traces; also after half a start, or a crash of whoever started it."""
        for name in [one for one in self.processes.names() if one not in ORDER]:
            self.processes.end(name)
        self.processes.end("kubelet", kind=signal.SIGKILL)
        self._end_containers()
        for name in reversed(ORDER):
            self.processes.end(name, kind=signal.SIGKILL if name == "etcd" else signal.SIGTERM)
        self._end_strays()
        _unmount_below(self.folder)
        self.network.down()
        _remove_cgroups(f"uwsk-{self.name}")
        shutil.rmtree(self.folder, ignore_errors=True)
        if not any(STATE.glob("*/index")):
            _restore_sysctls()

    def _end_containers(self) -> None:
        if not self.alive("containerd"):
            return
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            for task in self._ctr("-n", "k8s.io", "tasks", "ls", "-q").split():
                self._ctr("-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", task, check=False)
            until = time.monotonic() + 10
            while "RUNNING" in self._ctr("-n", "k8s.io", "tasks", "ls") and time.monotonic() < until:
                time.sleep(0.1)

    def _end_strays(self) -> None:
        """Shims and what hangs below them: known by the site's folder on their command line, or its cgroups."""
        for _ in range(50):
            found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]
            if not found:
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _is_ours(self, pid: int) -> bool:
        if pid == os.getpid():
            return False
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.fsencode(self.folder) in b" ".join(words):
                return True
            return f"/uwsk-{self.name}/" in Path(f"/proc/{pid}/cgroup").read_text()
        return False

    # -- small things ----------------------------------------------------------------------------------------------

    def _ctr(self, *arguments: str, check: bool = True, timeout: float = 20) -> str:
        done = subprocess.run(
            ["ctr", "--address", f"{self.folder}/run/containerd.sock", *arguments],
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout or "done"

    def _answers(self, url: str) -> bool:
        done = subprocess.run(
            [*self.network.enter(), "curl", "-sf", "-m", "2", url], capture_output=True, check=False, timeout=10
        )
        return done.returncode == 0

    def _apiserver_is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "pki/ca.crt"))
        context.load_cert_chain(self.folder / "pki/admin.crt", self.folder / "pki/admin.key")
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=3, context=context) as answer:
            return bool(answer.status == 200)

    def _node_is_ready(self) -> bool:
        nodes = self.get("nodes")["items"]
        return any(
            one["type"] == "Ready" and one["status"] == "True" for node in nodes for one in node["status"]["conditions"]
        )

    def _has_account(self) -> bool:
        return bool(self.kubectl("get", "serviceaccount", "default", "-o", "name"))

    def _wait(self, what: str, check: Callable[[], object], seconds: float, component: str | None = None) -> None:
        until = time.monotonic() + seconds
        why: object = ""
        while time.monotonic() < until:
            if component is not None and not self.alive(component):
                raise RuntimeError(f"{component} ended:\n{self.processes.tail(component)}")
            try:
                if check():
                    return
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                why = error
            time.sleep(0.05)
        raise RuntimeError(f"site {self.name}: waited {seconds} s for {what}: {why}\n{self.processes.tail('kubelet')}")


def _index(name: str) -> int:
    """The site's number: the one it has, or the first that is free."""
    try:
        return int((STATE / name / "index").read_text())
    except (OSError, ValueError):
        pass
    taken = set()
    for file in STATE.glob("*/index"):
        with contextlib.suppress(OSError, ValueError):
            taken.add(int(file.read_text()))
    return next(number for number in range(200) if number not in taken)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _make_cgroups(name: str) -> None:
    for controller in CGROUPS.iterdir():
        if controller.name == "unified" or not (controller / "tasks").exists():
            continue
        folder = controller / name
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (folder / file).exists():
                (folder / file).write_text((controller / file).read_text())


def _remove_cgroups(name: str) -> None:
    for controller in CGROUPS.iterdir():
        top = controller / name
        if top.is_dir():
            for folder in sorted([top, *(one for one in top.rglob("*") if one.is_dir())], reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _unmount_below(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((one for one in mounted if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def _remember_sysctls() -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    kept = STATE / "sysctls.json"
    if not kept.exists():
        kept.write_text(json.dumps({name: Path("/proc/sys", name).read_text() for name in SYSCTLS}))


def _restore_sysctls() -> None:
    kept = STATE / "sysctls.json"
    with contextlib.suppress(OSError, ValueError):
        for name, value in json.loads(kept.read_text()).items():
            Path("/proc/sys", name).write_text(value)
        kept.unlink()
