"""Nothing stays behind.

Sites that are stopped, that were half started, whose starter or whose files are gone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.jobs import job
from tests.rig import cgroups, components, images, machine, paths
from tests.rig.errors import ClusterError, Unable
from tests.rig.processes import command_lines, wait_for
from tests.rig.site import Site
from tests.tiers import lacking

NAME = "life"
PARAMETERS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


@pytest.fixture
def name() -> Iterator[str]:
    """Yield the name of a site that is not there, before and after."""
    try:
        machine.check()
    except Unable as error:
        lacking(str(error))
    Site.remove(NAME)
    yield NAME
    Site.remove(NAME)


def of_another_site(interface: str) -> bool:
    """Return whether a network interface belongs to a site that other tests start and stop meanwhile."""
    return re.fullmatch(r"uws\d+-.+", interface) is not None and not interface.endswith(f"-{NAME}")


def other_networks() -> list[ipaddress.IPv4Network]:
    """Return the addresses of the sites that others have."""
    networks = []
    for record in paths.state_folder().glob("*/site.json"):
        with contextlib.suppress(FileNotFoundError):  # it has just gone
            if record.parent.name != NAME:
                networks.append(ipaddress.IPv4Network(json.loads(record.read_text())["network"]))
    return networks


def routes() -> list[str]:
    """Return where this machine has ways to, but for those to sites of others."""
    listed = json.loads(subprocess.check_output(["ip", "-j", "-4", "route"]))
    others = other_networks()
    return [
        route["dst"]
        for route in listed
        if route["dst"] == "default"
        or not any(ipaddress.IPv4Network(route["dst"]).subnet_of(network) for network in others)
    ]


def traces() -> dict[str, object]:
    """Return everything that a site could leave on this machine, but for files."""
    folder = str(paths.state_folder() / NAME)
    ip = ["ip", "-j", "-4"]
    interfaces = [load["ifname"] for load in json.loads(subprocess.check_output([*ip, "link"]))]
    return {
        "processes": [words for _, words in command_lines() if any(folder in word for word in words)],
        "mounts": sorted(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
        "namespaces": subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout,
        "interfaces": [interface for interface in interfaces if not of_another_site(interface)],
        "routes": routes(),
        "control groups": [str(path) for top in cgroups.hierarchies() for path in top.glob(f"uws*-{NAME}")],
        "parameters": [Path("/proc/sys", parameter).read_text() for parameter in PARAMETERS],
        "folders": [str(path) for path in (Path("/run/netns"), Path("/run/containerd"), Path("/var/lib/kubelet"))
                    if path.exists()],
    }  # fmt: skip


def test_down_leaves_nothing(name: str) -> None:
    """After a site with a running pod is stopped, the machine is as it was, and its logs are kept."""
    before = traces()
    site = Site.up(name)
    site.apply(job("stays", "default", images.BUSYBOX, "sleep", "1000"))
    wait_for("the pod", lambda: "Running" in site.kubectl("get", "pods"), 60, every=0.2)
    sleepers = [pid for pid, words in command_lines() if words == ["sleep", "1000"]]
    assert sleepers and traces() != before
    site.down()
    assert traces() == before
    assert not any(words == ["sleep", "1000"] for pid, words in command_lines() if pid in sleepers)
    assert Site.find(name) is None and name not in Site.names()
    assert not site.folder.exists()
    logs = paths.state_folder() / "last" / name
    assert "Successfully registered node" in (logs / "kubelet.log").read_text()


def test_up_uses_what_runs_and_starts_what_does_not(name: str) -> None:
    """A second ``up`` changes nothing, but for starting a component that had died."""
    first = Site.up(name)
    pids = {component: first.layout.pidfile(component).read_text() for component in components.ORDER}
    first.kill("kube-scheduler")
    second = Site.up(name)
    changed = {pid for pid in pids if second.layout.pidfile(pid).read_text() != pids[pid]}
    assert changed == {"kube-scheduler"} and second.ready("kube-scheduler")
    assert second.address == first.address


@pytest.mark.parametrize("moment", ["site.json", "first.pid", "etcd.pid", "kubelet.pid"])
@pytest.mark.soak
def test_starter_is_killed(name: str, moment: str) -> None:
    """However far a start had come when its process was killed, everything can be removed, or started anew."""
    before = traces()
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.rig", "up", name], cwd=paths.CHECKOUT, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    folder = paths.state_folder() / name
    reached = folder / moment if moment == "site.json" else folder / "run" / moment
    wait_for(f"{moment} of the start", reached.exists, 60, every=0.002)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    if moment == "first.pid":
        assert Site.up(name).ready("kubelet")
    assert Site.remove(name)
    assert traces() == before


@pytest.mark.soak
def test_folder_is_lost(name: str) -> None:
    """A site without its folder is stopped."""
    before = traces()
    site = Site.up(name)
    shutil.rmtree(site.folder, ignore_errors=True)
    assert name in Site.names() and Site.find(name) is None
    assert Site.remove(name)
    assert traces() == before


def test_processes_of_others_are_spared(name: str) -> None:
    """A recorded process id that belongs to another process by now is not signalled."""
    site = Site.up(name)
    with subprocess.Popen(["sleep", "100"]) as bystander:
        pidfile = site.layout.pidfile("kube-scheduler")
        site.kill("kube-scheduler")
        _, started = pidfile.read_text().split()
        pidfile.write_text(f"{bystander.pid} {started}\n")
        assert not site.alive("kube-scheduler")
        with pytest.raises(ClusterError, match="kube-scheduler of site life does not run"):
            site.kill("kube-scheduler")
        site.down()
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("bad", ["", "A", "a-b", "toolonganame", "last", "../x"])
def test_names(bad: str) -> None:
    """A name that could not be part of a host's is refused, with what is allowed."""
    with pytest.raises(ClusterError, match="up to eight small letters and digits"):
        Site.up(bad)
