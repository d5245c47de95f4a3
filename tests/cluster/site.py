"""One complete Kubernetes cluster of a single node on this machine, for tests and development.

A site lives in namespaces of its own (mounts, network, processes) under a first process that only waits; components
are started in them and recorded, each with a log file. When the first process is killed, the kernel ends everything
else and takes mounts and network interfaces away: nothing can be left over, however a site was started or broke.
What is left to remove are folders: the site's own, and those of its control groups.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.cluster import archives, audit, build, cgroups, components, images, kubeconfigs, kueue, kwok, network, pki
from tests.cluster.cluster import Cluster
from tests.cluster.components import Layout
from tests.cluster.errors import ClusterError, Unable
from tests.cluster.network import Block, Cable
from tests.cluster.paths import locked, state_folder
from tests.cluster.processes import Recorded, command_lines, record, start_first, start_inside, wait_for

T = TypeVar("T")
FIRST = "first"
EXTRAS = (kueue.NAME, kwok.NAME)


class Site(Cluster):
    """One cluster; made by ``Site.up`` or ``Site.find``, in any process and at any time.

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
        """A running site of that name; one that runs already is used as it is, what is down in it is started.

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
        check_name(name)
        check_machine()
        wanted = [name for name, flag in (("kueue", kueue), ("kwok", kwok)) if flag]
        programs = build.ensure("kubernetes")["kubernetes"].parent
        with locked(state_folder() / f"{name}.lock"):
            site = cls._recorded(name)
            if site is not None and not site._sound():
                site._remove()
                site = None
            if site is None:
                site = cls._create(name, programs)
            try:
                site._start_all(wanted)
            except ClusterError as error:
                raise ClusterError(f"site {name} did not start: {error}\n{site._excerpts()}") from error
        return site

    @classmethod
    def find(cls, name: str) -> Site | None:
        """The running site of that name."""
        site = cls._recorded(name)
        return site if site is not None and site._sound() else None

    @classmethod
    def names(cls) -> list[str]:
        """The names of all sites that were started and not stopped, also of such as broke."""
        recorded = {path.parent.name for path in state_folder().glob("*/site.json")}
        first = (words for _, words in command_lines() if Path(words[0]).name.startswith("pause-") and len(words) > 3)
        strays = {Path(words[1]).name for words in first if Path(words[1]).parent == state_folder()}
        return sorted(recorded | strays)

    def down(self) -> None:
        """Stop everything and remove what the site kept, but its logs (``last/NAME`` in the folder of all sites)."""
        with locked(state_folder() / f"{self.name}.lock"):
            self._remove()

    @classmethod
    def remove(cls, name: str) -> bool:
        """Remove a site in whatever state it is; whether there was anything of it."""
        check_name(name)
        with locked(state_folder() / f"{name}.lock"):
            site = cls._recorded(name)
            if site is not None:
                site._remove()
        return site is not None

    @classmethod
    def _recorded(cls, name: str) -> Site | None:
        folder = state_folder() / name
        try:
            known = json.loads((folder / "site.json").read_text())
        except FileNotFoundError:
            return cls._stray(name)
        block = Block(known["index"], network.parse(known["network"]))
        return cls(Layout(name, folder, block, Path(known["programs"])))

    @classmethod
    def _stray(cls, name: str) -> Site | None:
        """A site whose record is gone and whose first process still runs, as one that can be removed."""
        folder = state_folder() / name
        for pid, words in command_lines():
            if Path(words[0]).name.startswith("pause-") and words[1:2] == [str(folder)]:
                layout = Layout(name, folder, Block(int(words[2]), network.parse(words[3])), folder)
                layout.pidfile(FIRST).parent.mkdir(parents=True, exist_ok=True)
                record(pid, layout.pidfile(FIRST))
                return cls(layout)
        return None

    @classmethod
    def _create(cls, name: str, programs: Path) -> Site:
        """Choose addresses, write every file, make the namespaces and the network."""
        folder = state_folder() / name
        # Without a record nothing runs from it: that was written before anything was started.
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("run", "logs/pods", "kubeconfigs", "cni", "volume-plugins"):
            (folder / part).mkdir(parents=True)
        with locked(Path("/run/lock/uws-cluster-network.lock")):
            block = network.free_block()
            known = {"index": block.index, "network": str(block.network), "programs": str(programs)}
            (folder / "site.json.new").write_text(json.dumps(known))
            (folder / "site.json.new").rename(folder / "site.json")
            network.fence(block)
        site = cls(Layout(name, folder, block, programs))
        layout = site.layout
        pki.issue_all(folder / "pki", layout.node, site.address, str(network.KUBERNETES_SERVICE))
        for user in ("admin", "controller-manager", "scheduler", "kubelet"):
            text = kubeconfigs.render(layout, kubeconfigs.certificate_user(layout, user))
            kubeconfigs.write(folder / "kubeconfigs" / user, text)
        components.write_configuration(layout, containerd_version(), images.PAUSE)
        script = folder / "run" / "first.sh"
        script.write_text(components.first_process_script())
        # Its arguments, which it does not read, tell what it holds, should the folder be lost.
        command = [str(images.pause_program()), str(folder), str(block.index), str(block.network)]
        first = start_first(layout.pidfile(FIRST), layout.log(FIRST), script, command)
        # The script has run once the program in its place is ours.
        wait_for(
            "the site's namespaces",
            lambda: Path(f"/proc/{first.pid}/exe").resolve() == images.pause_program(),
            10,
            unless=lambda: "" if first.alive else layout.log(FIRST).read_text(),
        )
        Cable(layout.label, block, first.pid).lay()
        cgroups.make(layout.label)
        site._mark(FIRST).touch()
        return site

    def _start_all(self, wanted: Sequence[str]) -> None:
        """Start what does not run, in order; return when the node is ready and so are the extras."""
        new_runtime = not self.alive("containerd")
        for component in components.ORDER:
            if not self.alive(component):
                self._launch(component)
            if component == "kube-apiserver":
                if new_runtime:  # while the API server starts
                    self._import_basics()
                self._wait_ready("kube-apiserver", 90)
        for component in components.ORDER:
            self._wait_ready(component, 90)
        for extra in EXTRAS:
            if self._has(extra) or extra in wanted:
                self._start_extra(extra)

    def _start_extra(self, extra: str) -> None:
        known = self._has(extra)
        if not known and extra == kueue.NAME:
            kueue.prepare(self, self.layout)
        elif not known:
            kwok.prepare(self.layout)
        if not self.alive(extra):
            self._launch(extra)
        self._wait_ready(extra, 90)
        if not known and extra == kueue.NAME:
            kueue.finish(self, self.layout)
        self._mark(extra).touch()

    def _mark(self, step: str) -> Path:
        """A file that says that a step of making the site is complete."""
        return self.folder / "run" / f"{step}.made"

    def _has(self, extra: str) -> bool:
        return self._mark(extra).exists()

    def _remove(self) -> None:
        layout = self.layout
        first = self._process(FIRST)
        if first is not None:
            first.send(signal.SIGKILL)
            if not first.wait(30):
                raise ClusterError(f"the first process of site {self.name}, {first.pid}, does not end")
        cgroups.remove(layout.label)
        # The interface goes with the namespace; the kernel takes a moment.
        wait_for("removal of the network interface", lambda: not Path("/sys/class/net", layout.label).exists(), 30)
        network.unfence(layout.block)
        last = state_folder() / "last" / self.name
        shutil.rmtree(last, ignore_errors=True)
        last.parent.mkdir(exist_ok=True)
        if (self.folder / "logs").is_dir():
            (self.folder / "logs").rename(last)
        shutil.rmtree(self.folder)

    # Components

    def start(self, component: str) -> None:
        """Start a component that was killed or stopped; return when it serves."""
        self._check_component(component)
        if self.alive(component):
            raise ClusterError(f"{component} of site {self.name} runs already")
        self._launch(component)
        self._wait_ready(component, 90)

    def kill(self, component: str, signal: int = signal.SIGKILL) -> None:
        """Send a component a signal; after SIGKILL it has ended when this returns."""
        process = self._running(component)
        process.send(signal)
        if signal == 9 and not process.wait(10):
            raise ClusterError(f"{component} of site {self.name} does not end")

    def stop_component(self, component: str, patience: float = 15) -> None:
        """Let a component end in order; kill it if it takes longer than the patience."""
        self._running(component).end(patience)

    def alive(self, component: str) -> bool:
        """Whether a component's process runs."""
        self._check_component(component)
        process = self._process(component)
        return process is not None and process.alive

    def log(self, component: str) -> str:
        """What a component has written."""
        return self.layout.log(component).read_text(errors="replace")

    def _check_component(self, component: str) -> None:
        names = (*components.ORDER, *EXTRAS)
        if component not in names:
            raise ClusterError(f"{component!r} is no component; there are: {', '.join(names)}")

    def _process(self, name: str) -> Recorded | None:
        return Recorded.read(self.layout.pidfile(name))

    def _sound(self) -> bool:
        """Whether its namespaces and its record are there; what runs in them is another question."""
        first = self._process(FIRST)
        return first is not None and first.alive and self._mark(FIRST).exists()

    def _running(self, component: str) -> Recorded:
        self._check_component(component)
        process = self._process(component)
        if process is None or not process.alive:
            raise ClusterError(f"{component} of site {self.name} does not run")
        return process

    def _launch(self, component: str) -> None:
        if component == kueue.NAME:
            self.run_inside(component, kueue.command(self.layout), kueue.environment())
        elif component == kwok.NAME:
            self.run_inside(component, kwok.command(self.layout))
        else:
            self.run_inside(component, components.command(component, self.layout))

    def run_inside(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Recorded:
        """Start a process in the site's namespaces, recorded and logged under a name."""
        first = self._process(FIRST)
        if first is None or not first.alive:
            raise ClusterError(f"site {self.name} does not run")
        return start_inside(first, self.layout.pidfile(name), self.layout.log(name), command, env)

    def _wait_ready(self, component: str, timeout: float) -> None:
        process = self._process(component)
        assert process is not None
        wait_for(
            f"{component} of site {self.name}",
            lambda: self.ready(component),
            timeout,
            unless=lambda: "" if process.alive else f"it ended; the end of its log:\n{self.log(component)[-2000:]}",
        )

    def ready(self, component: str) -> bool:
        """Whether a component serves, asked from inside the site, so that a cut does not matter."""
        if not self.alive(component):
            return False
        if component == "containerd":
            return self._ctr("version", check=False).returncode == 0
        url = {
            "etcd": "http://127.0.0.1:2379/readyz",
            "kube-apiserver": "https://127.0.0.1/readyz",
            "kube-controller-manager": "https://127.0.0.1:10257/healthz",
            "kube-scheduler": "https://127.0.0.1:10259/healthz",
            "kubelet": "http://127.0.0.1:10248/healthz",
            kueue.NAME: kueue.READY,
            kwok.NAME: kwok.READY,
        }[component]
        return self._answers(url) and (component != "kubelet" or self._node_ready())

    def _node_ready(self) -> bool:
        nodes = json.loads(
            self._kubectl_inside("get", "nodes", self.layout.node, "--ignore-not-found", "-o", "json") or "{}"
        )
        conditions = nodes.get("status", {}).get("conditions", [])
        accounts = self._kubectl_inside("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
        return bool(accounts) and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _answers(self, url: str) -> bool:
        # Only whether it serves is asked here, on the site's own loopback; some components sign for themselves.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def ask() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=5, context=context) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        return self.in_network(ask)

    def in_network(self, do: Callable[[], T]) -> T:
        """Run a function in the site's network namespace, in a thread of its own."""
        first = self._process(FIRST)
        assert first is not None
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                handle = os.open(f"/proc/{first.pid}/ns/net", os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(handle, 0x40000000) != 0:
                        raise ClusterError(
                            f"entering the network of site {self.name}: {os.strerror(ctypes.get_errno())}"
                        )
                finally:
                    os.close(handle)
                results.append(do())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def enter(self, command: Sequence[str]) -> int:
        """Run a command inside the site, on this terminal; its exit code."""
        return subprocess.run([*self._entering("mount", "net", "pid"), *command]).returncode

    def _entering(self, *namespaces: str) -> list[str]:
        first = self._process(FIRST)
        if first is None or not first.alive:
            raise ClusterError(f"site {self.name} does not run")
        return ["nsenter", f"--target={first.pid}", *(f"--{each}" for each in namespaces), "--"]

    # Partition

    def cut(self) -> None:
        """Lose every packet between the site and this machine, both ways, in silence."""
        self._cable().cut()

    def mend(self) -> None:
        """Let packets through again."""
        self._cable().mend()

    @property
    def is_cut(self) -> bool:
        """Whether the site is cut off."""
        return self._cable().is_cut

    def _cable(self) -> Cable:
        first = self._process(FIRST)
        if first is None or not first.alive:
            raise ClusterError(f"site {self.name} does not run")
        return Cable(self.layout.label, self.layout.block, first.pid)

    # Images

    def _ctr(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        # Without a server ctr waits for ever, hence its own limit.
        command = ["ctr", "--address", str(self.layout.containerd_socket), "--connect-timeout", "2s", "-n", "k8s.io"]
        # Unpacking mounts, which is to be among the site's own mounts.
        enter = self._entering("mount", "net", "pid")
        try:
            done = subprocess.run([*enter, *command, *arguments], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"ctr {' '.join(arguments)}: no answer in {timeout:g} s") from error
        if check and done.returncode != 0:
            raise ClusterError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def import_image(self, path: Path) -> None:
        """Make the images of an archive (docker save or OCI) known to the node."""
        known = {
            line.strip().removeprefix("sha256:") for line in self._ctr("content", "list", "--quiet").stdout.split()
        }
        with tempfile.NamedTemporaryFile(dir=self.folder / "run") as thin:
            archives.write_thin(path, known, thin)
            thin.flush()
            self._ctr("images", "import", thin.name)

    def images(self) -> list[str]:
        """The names of the images that the node has."""
        listed = self._ctr("images", "list", "--quiet").stdout.split()
        return sorted(name for name in listed if not name.startswith("sha256:"))

    def _import_basics(self) -> None:
        self._wait_ready("containerd", 30)
        for path in (images.pause(), images.busybox()):
            self.import_image(path)

    # Talking to the API server

    def _kubectl_inside(self, *arguments: str) -> str:
        command = [str(self.layout.programs / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run([*self._entering("net"), *command], capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def kubeconfig_for(self, service_account: str, namespace: str, lifetime: float = 3600) -> Path:
        """A kubeconfig with a token of a service account; each call writes a new token to the same file.

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
        """How often the API server did that to an object of each name; without a namespace, in all."""
        return audit.count(self.audit_log, verb, resource, namespace, {200, 201, 202})

    def job_creations(self, namespace: str) -> Counter[str]:
        """How often the API server created a Job of each name."""
        return audit.count(self.audit_log, "create", "jobs", namespace, {201})

    def job_deletions(self, namespace: str) -> Counter[str]:
        """How often the API server accepted the deletion of a Job of each name."""
        return audit.count(self.audit_log, "delete", "jobs", namespace, {200, 202})

    def _excerpts(self) -> str:
        logs = (self.layout.log(name) for name in (FIRST, *components.ORDER))
        ends = (f"--- {path}\n{path.read_text(errors='replace')[-800:]}" for path in logs if path.exists())
        return "\n".join(ends)


def check_name(name: str) -> None:
    """A site's name becomes part of those of its node and its network interface."""
    if not (name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 8) or name == "last":
        raise ClusterError(f"{name!r} is no name for a site: up to eight small letters and digits, but not 'last'")


def check_machine() -> None:
    """That this machine can carry a site; an error that names everything that is missing."""
    if os.geteuid() != 0:
        raise Unable("a cluster needs root: it makes namespaces, mounts and control groups")
    build.paths(["containerd", "ctr", "runc", "ip", "tc", "nsenter", "mount", "busybox"])
    for plugin in ("bridge", "host-local", "loopback"):
        if not Path(components.CNI_PLUGINS, plugin).exists():
            raise Unable(f"{components.CNI_PLUGINS}/{plugin} not found; Debian has it in: containernetworking-plugins")
    if not build.built("kubernetes"):
        build.go()


def containerd_version() -> int:
    """The first number of containerd's version, which decides the form of its configuration."""
    said = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    return 2 if any(word.lstrip("v").startswith("2.") for word in said.split()) else 1
