"""One complete Kubernetes cluster of a single node on this machine, for tests and development.

A site lives in namespaces of its own (mounts, network, processes) under a first process that only waits; components
are started in them and recorded, each with a log file. When the first process is killed, the kernel ends everything
else and takes mounts and network interfaces away: nothing can be left over, however a site was started or broke.
What is left to remove are folders: the site's own, and those of its control groups.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import audit
from tests.rig import build, components, ground, images, kubeconfigs, kueue, kwok, machine
from tests.rig.cluster import Cluster
from tests.rig.components import Layout
from tests.rig.containerd import Containerd
from tests.rig.errors import ClusterError
from tests.rig.inside import FIRST, Inside
from tests.rig.network import Cable
from tests.rig.paths import locked, state_folder
from tests.rig.processes import Recorded, wait_for

EXTRAS = (kueue.NAME, kwok.NAME)

READY_URLS = {
    "etcd": "http://127.0.0.1:2379/readyz",
    "kube-apiserver": "https://127.0.0.1/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
    "kubelet": "http://127.0.0.1:10248/healthz",
    kueue.NAME: kueue.READY,
    kwok.NAME: kwok.READY,
}
"""Where components answer once they serve."""


class Site(Cluster):
    """One cluster.

    Made by ``Site.up`` or ``Site.find``, in any process and at any time.

    Attributes
    ----------
    name
        Its name; also that of its node, after ``node-``.
    folder
        Everything that it keeps: data, logs, certificates.
    address
        The API server's address; it listens on port 443.
    host_address
        The address at which the site's pods reach servers on this machine.
    audit_log
        Each creation and deletion of Jobs and pods, as the API server answered it.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.folder / "kubeconfigs" / "admin", images.BUSYBOX)
        self.layout = layout
        self.namespaces = Inside(layout)
        self.containerd = Containerd(self.namespaces)
        self.name = layout.name
        self.folder = layout.folder
        self.address = layout.block.site
        self.server = layout.server
        self.host_address = layout.block.host
        self.audit_log = layout.folder / "logs" / "audit.log"

    def __repr__(self) -> str:
        return f"<Site {self.name} {self.server}>"

    # Life

    @classmethod
    def up(cls, name: str, *, kueue: bool = False, kwok: bool = False) -> Site:
        """Return a running site of that name.

        One that runs already is used as it is, what is down in it is started.

        Parameters
        ----------
        kueue
            With Kueue's controller (``kueue.queue`` makes queues for it).
        kwok
            With KWOK's controller (``kwok.node`` makes nodes for it).

        Raises
        ------
        Unable
            When this machine lacks what a site needs.
        ClusterError
            When it did not start, with the ends of the logs.
        """
        machine.check_name(name)
        machine.check()
        extras = [name for name, flag in (("kueue", kueue), ("kwok", kwok)) if flag]
        programs = build.ensure("kubernetes")["kubernetes"].parent
        with locked(state_folder() / f"{name}.lock"):
            layout = ground.find(name)
            if layout is not None and not ground.sound(layout):
                ground.remove(layout)
                layout = None
            site = cls(layout or ground.make(name, programs))
            try:
                site._start_all(extras)
            except ClusterError as error:
                raise ClusterError(f"site {name} did not start: {error}\n{site._excerpts()}") from error
        return site

    @classmethod
    def find(cls, name: str) -> Site | None:
        """Return the running site of that name."""
        layout = ground.find(name)
        return cls(layout) if layout is not None and ground.sound(layout) else None

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all sites that were started and not stopped, also of such as broke."""
        return ground.names()

    def down(self) -> None:
        """Stop everything and remove what the site kept, but its logs (``last/NAME`` in the folder of all sites)."""
        with locked(state_folder() / f"{self.name}.lock"):
            ground.remove(self.layout)

    @classmethod
    def remove(cls, name: str) -> bool:
        """Remove a site in whatever state it is; whether there was anything of it."""
        machine.check_name(name)
        with locked(state_folder() / f"{name}.lock"):
            layout = ground.find(name)
            if layout is not None:
                ground.remove(layout)
        return layout is not None

    def _start_all(self, extras: Sequence[str]) -> None:
        """Start what does not run, in order; return when the node is ready and so are the extras."""
        new_runtime = not self.alive("containerd")
        for component in components.ORDER:
            if not self.alive(component):
                self._launch(component)
            if component == "kube-apiserver":
                if new_runtime:  # while the API server starts
                    self._wait_ready("containerd", 30)
                    for path in (images.pause(), images.busybox()):
                        self.import_image(path)
                self._wait_ready("kube-apiserver", 90)
        for component in components.ORDER:
            self._wait_ready(component, 90)
        for extra in EXTRAS:
            if self._has(extra) or extra in extras:
                self._start_extra(extra)

    def _start_extra(self, extra: str) -> None:
        installed = self._has(extra)
        if not installed and extra == kueue.NAME:
            kueue.prepare(self, self.layout)
        elif not installed:
            kwok.prepare(self.layout)
        if not self.alive(extra):
            self._launch(extra)
        self._wait_ready(extra, 90)
        if not installed and extra == kueue.NAME:
            kueue.finish(self, self.layout)
        ground.mark(self.layout, extra).touch()

    def _has(self, extra: str) -> bool:
        return ground.mark(self.layout, extra).exists()

    # Components

    def start(self, component: str) -> None:
        """Start a component that was killed or stopped; return when it serves."""
        self._check_component(component)
        if self.alive(component):
            raise ClusterError(f"{component} of site {self.name} runs already")
        self._launch(component)
        self._wait_ready(component, 90)

    def kill(self, component: str, signal: int = signal.SIGKILL) -> None:
        """Send a component a signal.

        After SIGKILL it has ended when this returns.
        """
        process = self._running(component)
        process.send(signal)
        if signal == 9 and not process.wait(10):
            raise ClusterError(f"{component} of site {self.name} does not end")

    def stop_component(self, component: str, patience: float = 15) -> None:
        """Let a component end in order; kill it if it takes longer than the patience."""
        self._running(component).end(patience)

    def alive(self, component: str) -> bool:
        """Return whether a component's process runs."""
        self._check_component(component)
        process = self.namespaces.process(component)
        return process is not None and process.alive

    def log(self, component: str) -> str:
        """Return what a component has written."""
        return self.layout.log(component).read_text(errors="replace")

    def _check_component(self, component: str) -> None:
        names = (*components.ORDER, *EXTRAS)
        if component not in names:
            raise ClusterError(f"{component!r} is no component; there are: {', '.join(names)}")

    def _running(self, component: str) -> Recorded:
        self._check_component(component)
        process = self.namespaces.process(component)
        if process is None or not process.alive:
            raise ClusterError(f"{component} of site {self.name} does not run")
        return process

    def _launch(self, component: str) -> None:
        if component == kueue.NAME:
            self.namespaces.start(component, kueue.command(self.layout), kueue.environment())
        elif component == kwok.NAME:
            self.namespaces.start(component, kwok.command(self.layout))
        else:
            self.namespaces.start(component, components.command(component, self.layout))

    def _wait_ready(self, component: str, timeout: float) -> None:
        process = self.namespaces.process(component)
        assert process is not None
        wait_for(
            f"{component} of site {self.name}",
            lambda: self.ready(component),
            timeout,
            unless=lambda: "" if process.alive else f"it ended; the end of its log:\n{self.log(component)[-2000:]}",
        )

    def ready(self, component: str) -> bool:
        """Return whether a component serves, asked from inside the site, so that a cut does not matter."""
        if not self.alive(component):
            return False
        if component == "containerd":
            return self.containerd.ready()
        return self.namespaces.answers(READY_URLS[component]) and (component != "kubelet" or self._node_ready())

    def _node_ready(self) -> bool:
        nodes = self._kubectl_inside("get", "nodes", self.layout.node, "--ignore-not-found", "-o", "json")
        conditions = json.loads(nodes or "{}").get("status", {}).get("conditions", [])
        accounts = self._kubectl_inside("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
        return bool(accounts) and ("Ready", "True") in ((entry["type"], entry["status"]) for entry in conditions)

    def enter(self, command: Sequence[str]) -> int:
        """Run a command inside the site, on this terminal; its exit code."""
        return subprocess.run([*self.namespaces.entering("mount", "net", "pid"), *command]).returncode

    # Partition

    def cut(self) -> None:
        """Lose every packet between the site and this machine, both ways, in silence."""
        self._cable.cut()

    def mend(self) -> None:
        """Let packets through again."""
        self._cable.mend()

    @property
    def is_cut(self) -> bool:
        """Return whether the site is cut off."""
        return self._cable.is_cut

    @property
    def _cable(self) -> Cable:
        return Cable(self.layout.label, self.layout.block, self.namespaces.first.pid)

    # Images

    def import_image(self, path: Path) -> None:
        """Make the images of an archive (docker save or OCI) known to the node."""
        self.containerd.import_image(path)

    def images(self) -> list[str]:
        """Return the names of the images that the node has."""
        return self.containerd.images()

    # Talking to the API server

    def _kubectl_inside(self, *arguments: str) -> str:
        command = [str(self.layout.programs / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        completed = subprocess.run(
            [*self.namespaces.entering("net"), *command], capture_output=True, text=True, timeout=30
        )
        return completed.stdout if completed.returncode == 0 else ""

    def kubeconfig_for(self, service_account: str, namespace: str, lifetime: float = 3600) -> Path:
        """Return a kubeconfig with a token of a service account; each call writes a new token to the same file.

        The API server issues no tokens for less than ten minutes: shorter ones are signed with the site's own key, and
        are what the API server would have issued in every other way. It remembers a token for ten seconds, so that one
        may be accepted that much longer.
        """
        if lifetime >= 600:
            token = self.kubectl(
                "create", "token", service_account, "-n", namespace, f"--duration={lifetime:.0f}s"
            ).strip()
        else:
            token = kubeconfigs.short_token(
                self.layout,
                namespace,
                service_account,
                uid=self.kubectl(
                    "get", "serviceaccount", service_account, "-n", namespace, "-o", "jsonpath={.metadata.uid}"
                ),
                now=time.time(),
                lifetime=lifetime,
            )
        path = self.folder / "kubeconfigs" / f"{namespace}.{service_account}"
        kubeconfigs.write(path, kubeconfigs.render(self.layout, {"token": token}, namespace))
        return path

    # Counting

    def audited(self, verb: str, resource: str = "jobs", namespace: str | None = None) -> Counter[str]:
        """Return how often the API server did that to an object of each name; without a namespace, in all."""
        return audit.count(self.audit_log, verb, resource, namespace, {200, 201, 202})

    def job_creations(self, namespace: str) -> Counter[str]:
        """Return how often the API server created a Job of each name."""
        return audit.count(self.audit_log, "create", "jobs", namespace, {201})

    def job_deletions(self, namespace: str) -> Counter[str]:
        """Return how often the API server accepted the deletion of a Job of each name."""
        return audit.count(self.audit_log, "delete", "jobs", namespace, {200, 202})

    def _excerpts(self) -> str:
        logs = (self.layout.log(name) for name in (FIRST, *components.ORDER))
        ends = (f"--- {path}\n{path.read_text(errors='replace')[-800:]}" for path in logs if path.exists())
        return "\n".join(ends)
