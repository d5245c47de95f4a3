"""What a site stands on.

Its record and folder, its addresses, its namespaces and control groups.

Here it is made before any component starts, found again by any process, and removed in whatever state it is.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.rig import cgroups, components, images, kubeconfigs, machine, network, pki
from tests.rig.components import Layout
from tests.rig.errors import ClusterError
from tests.rig.inside import FIRST, Inside
from tests.rig.network import Block, Cable
from tests.rig.paths import locked, state_folder
from tests.rig.processes import command_lines, record, start_first, wait_for

BLOCKS = Path("/run/lock/uws-cluster-network.lock")


def mark(layout: Layout, step: str) -> Path:
    """Return a file that says that a step of making the site is complete."""
    return layout.folder / "run" / f"{step}.made"


def names() -> list[str]:
    """Return the names of all sites that were started and not stopped, also of such as broke."""
    recorded = {path.parent.name for path in state_folder().glob("*/site.json")}
    return sorted(recorded | {layout.name for _, layout in _running()})


def find(name: str) -> Layout | None:
    """Return the site of that name.

    By its record, or if that is gone by its first process.
    """
    folder = state_folder() / name
    try:
        state = json.loads((folder / "site.json").read_text())
    except FileNotFoundError:
        return _stray(name)
    return Layout(name, folder, Block(state["index"], network.parse(state["network"])), Path(state["programs"]))


def sound(layout: Layout) -> bool:
    """Return whether its namespaces and its folder are there.

    What runs in them is another question.
    """
    first = Inside(layout).process(FIRST)
    return first is not None and first.alive and mark(layout, FIRST).exists()


def make(name: str, programs: Path) -> Layout:
    """Choose addresses, write every file, make the namespaces and the network."""
    folder = state_folder() / name
    # Without a record nothing runs from it: that was written before anything was started.
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("run", "logs/pods", "kubeconfigs", "cni", "volume-plugins"):
        (folder / part).mkdir(parents=True)
    with locked(BLOCKS):
        block = network.free_block()
        state = {"index": block.index, "network": str(block.network), "programs": str(programs)}
        (folder / "site.json.new").write_text(json.dumps(state))
        (folder / "site.json.new").rename(folder / "site.json")
        network.fence(block)
    layout = Layout(name, folder, block, programs)
    pki.issue_all(folder / "pki", layout.node, block.site, str(network.KUBERNETES_SERVICE))
    for user in ("admin", "controller-manager", "scheduler", "kubelet"):
        text = kubeconfigs.render(layout, kubeconfigs.certificate_user(layout, user))
        kubeconfigs.write(folder / "kubeconfigs" / user, text)
    components.write_configuration(layout, machine.containerd_version(), images.PAUSE)
    _start_first(layout)
    Cable(layout.label, block, Inside(layout).first.pid).lay()
    cgroups.make(layout.label)
    mark(layout, FIRST).touch()
    return layout


def _start_first(layout: Layout) -> None:
    script = layout.folder / "run" / "first.sh"
    script.write_text(components.first_process_script())
    program = images.pause_program()
    # Its arguments, which it does not read, tell what it holds, should the folder be lost.
    command = [str(program), str(layout.folder), str(layout.block.index), str(layout.block.network)]
    first = start_first(layout.pidfile(FIRST), layout.log(FIRST), script, command)
    # The script has run once the program in its place is ours.
    wait_for(
        "the site's namespaces",
        lambda: Path(f"/proc/{first.pid}/exe").resolve() == program,
        10,
        unless=lambda: "" if first.alive else layout.log(FIRST).read_text(),
    )


def remove(layout: Layout) -> None:
    """End every process of the site, by its first one, and remove what is left but the logs."""
    first = Inside(layout).process(FIRST)
    if first is not None:
        first.send(signal.SIGKILL)
        if not first.wait(30):
            raise ClusterError(f"the first process of site {layout.name}, {first.pid}, does not end")
    cgroups.remove(layout.label)
    # The interface goes with the namespace, which any process that is still in it keeps.
    if Path("/sys/class/net", layout.label).exists():
        subprocess.run(["ip", "link", "del", layout.label], capture_output=True)
    wait_for("removal of the network interface", lambda: not Path("/sys/class/net", layout.label).exists(), 30)
    network.unfence(layout.block)
    last = state_folder() / "last" / layout.name
    shutil.rmtree(last, ignore_errors=True)
    last.parent.mkdir(exist_ok=True)
    if (layout.folder / "logs").is_dir():
        (layout.folder / "logs").rename(last)
    shutil.rmtree(layout.folder)


def _running() -> Iterator[tuple[int, Layout]]:
    """Yield the first processes that run, with what their arguments tell."""
    for pid, words in command_lines():
        if Path(words[0]).name.startswith("pause-") and len(words) == 4:
            folder = Path(words[1])
            if folder.parent == state_folder():
                yield pid, Layout(folder.name, folder, Block(int(words[2]), network.parse(words[3])), folder)


def _stray(name: str) -> Layout | None:
    """Return a site whose record is gone while its first process still runs: it can be removed, and that is all."""
    for pid, layout in _running():
        if layout.name == name:
            layout.pidfile(FIRST).parent.mkdir(parents=True, exist_ok=True)
            record(pid, layout.pidfile(FIRST))
            return layout
    return None
