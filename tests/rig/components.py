"""The components of one site as command lines and configuration files: pure functions of a ``Layout``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.network import SERVICES, Block

# In the order in which they start.
ORDER = ("etcd", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")

CNI_PLUGINS = "/usr/lib/cni"

# What the audit log keeps: enough to count Jobs and pods by name, without their contents.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "verbs": ["create", "delete", "deletecollection"],
            "resources": [{"group": "batch", "resources": ["jobs"]}, {"group": "", "resources": ["pods"]}],
        },
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class Layout:
    """Where a site's things lie and how it is reached; everything else follows."""

    name: str
    folder: Path
    block: Block
    programs: Path

    @property
    def node(self) -> str:
        """Return the name of the one node."""
        return f"node-{self.name}"

    @property
    def label(self) -> str:
        """Return a name for the network interface and the folders of control groups: one of a kind on this machine."""
        return f"uws{self.block.index}-{self.name}"

    @property
    def server(self) -> str:
        """Return the API server's URL."""
        return f"https://{self.block.site}"

    def certificate(self, name: str) -> str:
        """Return the path of a certificate or, with the suffix, of a key."""
        return str(self.folder / "pki" / name)

    def pidfile(self, component: str) -> Path:
        """Return where a component's process is recorded."""
        return self.folder / "run" / f"{component}.pid"

    def log(self, component: str) -> Path:
        """Return a component's log file."""
        return self.folder / "logs" / f"{component}.log"

    @property
    def containerd_socket(self) -> Path:
        """Return where containerd listens."""
        return self.folder / "run" / "containerd.sock"


def command(component: str, layout: Layout) -> list[str]:
    """Return the command line of a component."""
    flags = _FLAGS[component](layout)
    program = component if component == "containerd" else str(layout.programs / component)
    return [program, *as_flags(flags)]


def as_flags(flags: Mapping[str, object]) -> list[str]:
    """Return flags as a command line has them.

    An empty value is a flag without one.
    """
    return [f"--{flag}={value}" if value != "" else f"--{flag}" for flag, value in flags.items()]


def _etcd(layout: Layout) -> Mapping[str, object]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return {
        "name": layout.name,
        "data-dir": layout.folder / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{layout.name}={peer}",
        # A test cluster's data need not outlive the machine, and a disk that stalls must not stall the tests.
        "unsafe-no-fsync": "",
        "quota-backend-bytes": 2 << 30,
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "5m",
        "log-level": "warn",
    }


def _apiserver(layout: Layout) -> Mapping[str, object]:
    certificate = layout.certificate
    return {
        "etcd-servers": "http://127.0.0.1:2379",
        "bind-address": "0.0.0.0",
        # The Kubernetes service's own port: its address lies on the loopback interface (network.py).
        "secure-port": 443,
        "advertise-address": layout.block.site,
        "service-cluster-ip-range": SERVICES,
        "tls-cert-file": certificate("apiserver.crt"),
        "tls-private-key-file": certificate("apiserver.key"),
        "client-ca-file": certificate("ca.crt"),
        "kubelet-certificate-authority": certificate("ca.crt"),
        "kubelet-client-certificate": certificate("apiserver-kubelet.crt"),
        "kubelet-client-key": certificate("apiserver-kubelet.key"),
        "kubelet-preferred-address-types": "InternalIP",
        # Aggregated APIs, such as Kueue's of pending workloads, at their endpoints: no Service address would do.
        "enable-aggregator-routing": "true",
        "proxy-client-cert-file": certificate("front-proxy.crt"),
        "proxy-client-key-file": certificate("front-proxy.key"),
        "requestheader-client-ca-file": certificate("ca.crt"),
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        # One issuer per site, where the keys are published too.
        "service-account-issuer": layout.server,
        "service-account-key-file": certificate("tokens.pub"),
        "service-account-signing-key-file": certificate("tokens.key"),
        "audit-policy-file": layout.folder / "audit-policy.json",
        "audit-log-path": layout.folder / "logs" / "audit.log",
        "audit-log-maxsize": 1000,
        "allow-privileged": "true",
        "profiling": "false",
    }


def _controller_manager(layout: Layout) -> Mapping[str, object]:
    return {
        "kubeconfig": layout.folder / "kubeconfigs" / "controller-manager",
        "bind-address": "127.0.0.1",
        "use-service-account-credentials": "",
        "root-ca-file": layout.certificate("ca.crt"),
        "service-account-private-key-file": layout.certificate("tokens.key"),
        "leader-elect": "false",
        # The defaults allow 3.5 jobs a second; a test machine is not to be the limit.
        "kube-api-qps": 400,
        "kube-api-burst": 800,
        "concurrent-job-syncs": 20,
        "concurrent-gc-syncs": 20,
        # Half the default, so that tests of a lost node need not wait that long.
        "node-monitor-grace-period": "25s",
        "profiling": "false",
    }


def _scheduler(layout: Layout) -> Mapping[str, object]:
    return {
        "kubeconfig": layout.folder / "kubeconfigs" / "scheduler",
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "kube-api-qps": 400,
        "kube-api-burst": 800,
        "profiling": "false",
    }


def _kubelet(layout: Layout) -> Mapping[str, object]:
    return {
        "config": layout.folder / "kubelet.json",
        "kubeconfig": layout.folder / "kubeconfigs" / "kubelet",
        "root-dir": layout.folder / "kubelet",
        "hostname-override": layout.node,
        "node-ip": layout.block.site,
    }


def _containerd(layout: Layout) -> Mapping[str, object]:
    return {"config": layout.folder / "containerd.toml"}


_FLAGS = {
    "etcd": _etcd,
    "containerd": _containerd,
    "kube-apiserver": _apiserver,
    "kube-controller-manager": _controller_manager,
    "kube-scheduler": _scheduler,
    "kubelet": _kubelet,
}


def kubelet_configuration(layout: Layout) -> dict[str, Any]:
    """Return the kubelet's configuration file."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.block.site,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": layout.certificate("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.certificate("kubelet.crt"),
        "tlsPrivateKeyFile": layout.certificate("kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.label}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "podLogsDir": str(layout.folder / "logs" / "pods"),
        "volumePluginDir": str(layout.folder / "volume-plugins"),
        "maxPods": 250,
        "serializeImagePulls": False,
        # How long a folder may be too large before it is seen: once or twice this time, a minute by default.
        "volumeStatsAggPeriod": "5s",
        # Images come from local files and nowhere else: none may be thrown away because a disk fills.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def containerd_configuration(layout: Layout, version: int, pause_image: str) -> str:
    """Return containerd's configuration file.

    As TOML, for its version 1 or 2; every key stands in one place.
    """
    run = layout.folder / "run"
    cni = {"bin_dir": CNI_PLUGINS, "conf_dir": str(layout.folder / "cni")}
    runc = {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": False}}
    # Without restrict_oom_score_adj, runc fails where root may not lower that score (no CAP_SYS_RESOURCE).
    common = {"disable_apparmor": True, "restrict_oom_score_adj": True}
    config: dict[str, Any] = {
        "root": str(layout.folder / "containerd"),
        "state": str(run / "containerd"),
        "oom_score": 0,
        "grpc": {"address": str(layout.containerd_socket)},
    }
    if version == 1:
        config |= {
            "version": 2,
            "plugins": {
                "io.containerd.grpc.v1.cri": {
                    **common,
                    "sandbox_image": pause_image,
                    "disable_tcp_service": True,
                    "cni": cni,
                    "containerd": {
                        "snapshotter": "overlayfs",
                        "default_runtime_name": "runc",
                        "runtimes": {"runc": runc},
                    },
                }
            },
        }
    else:
        config |= {
            "version": 3,
            "plugins": {
                "io.containerd.cri.v1.runtime": {
                    **common,
                    "cni": {"bin_dirs": [cni["bin_dir"]], "conf_dir": cni["conf_dir"]},
                    "containerd": {"default_runtime_name": "runc", "runtimes": {"runc": runc}},
                },
                "io.containerd.cri.v1.images": {
                    "snapshotter": "overlayfs",
                    "pinned_images": {"sandbox": pause_image},
                },
            },
        }
    return toml(config)


def toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return a table as TOML.

    Its plain values first, then each table in it under its full name.
    """
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    text = "".join(line + "\n" for line in lines)
    for key, value in table.items():
        if isinstance(value, dict):
            inner = (*path, key)
            text += f"\n[{'.'.join(json.dumps(part) for part in inner)}]\n{toml(value, inner)}"
    return text


def cni_configuration(layout: Layout) -> dict[str, Any]:
    """Return the pods' network.

    A bridge inside the site's namespace, no translation of addresses.
    """
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "isDefaultGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": str(layout.block.pods)}]]},
            }
        ],
    }


def write_configuration(layout: Layout, containerd: int, pause_image: str) -> None:
    """Write every file that a component reads, certificates and kubeconfigs apart."""
    folder = layout.folder
    (folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY, indent=1))
    (folder / "kubelet.json").write_text(json.dumps(kubelet_configuration(layout), indent=1))
    (folder / "containerd.toml").write_text(containerd_configuration(layout, containerd, pause_image))
    (folder / "cni" / "pods.conflist").write_text(json.dumps(cni_configuration(layout), indent=1))


def first_process_script() -> str:
    """Return what is arranged in a site's namespaces before its first process runs: all of it vanishes with them.

    The kubelet and containerd write in folders outside those that they are given, and the kubelet sets kernel
    parameters of the whole machine: here they find folders and files of their own instead.
    """
    parameters = {
        "vm/overcommit_memory": 1,
        "vm/panic_on_oom": 0,
        "kernel/panic": 10,
        "kernel/panic_on_oops": 1,
        "kernel/keys/root_maxkeys": 1000000,
        "kernel/keys/root_maxbytes": 25000000,
    }
    lines = [
        "mount --make-rprivate /",
        "mount -t proc -o nosuid,nodev,noexec proc /proc",
        *(f"mount -t tmpfs -o size=64m,mode=755 site {folder}" for folder in ("/run", "/var/lib", "/var/log")),
        "mkdir -p /run/netns /run/lock /run/containerd /run/kernel /var/lib/kubelet",
    ]
    for number, (parameter, value) in enumerate(parameters.items()):
        lines.append(f"if [ -e /proc/sys/{parameter} ]; then")
        lines.append(f"    echo {value} > /run/kernel/{number}")
        lines.append(f"    mount --bind /run/kernel/{number} /proc/sys/{parameter}")
        lines.append("fi")
    lines.append("mount --make-rshared /")
    return "\n".join(lines) + "\n"
