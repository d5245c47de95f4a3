"""The images that sites get, all from local files.

``pause``, ``busybox``, and two of this checkout.

Each function gives the path of an archive, made if what it is made of has changed. There is no registry: a pod that
names one of these needs ``imagePullPolicy: Never`` or ``IfNotPresent``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.rig import python_image
from tests.rig.archives import ACCOUNTS, Entry, folder, small_image
from tests.rig.compiler import static_program
from tests.rig.errors import Unable
from tests.rig.paths import RIG_FOLDER

# The names under which containerd knows them; a pod may leave out "docker.io/".
PAUSE = "docker.io/local/pause:1"
BUSYBOX = "docker.io/local/busybox:1"
SERVICE = "docker.io/local/uws-service:test"
AGENT = "docker.io/local/uws-agent:test"


def service(name: str = SERVICE) -> Path:
    """Return the service with all its applications.

    Busybox's shell; its entry point is ``python -m uws_service``.
    """
    return python_image.service(name, shell())


def agent(name: str = AGENT) -> Path:
    """Return an interpreter with ``uws_service.agent`` and nothing else.

    Its entry point is the pod's agent.
    """
    return python_image.agent(name)


def pause_program() -> Path:
    """Return the static program of the pause image, which is also a site's first process."""
    return static_program(RIG_FOLDER / "pause.c")


def pause() -> Path:
    """Return the image that holds a pod's namespaces."""
    return small_image(PAUSE, [Entry("pause", pause_program(), mode=0o755)], {"Entrypoint": ["/pause"]})


def shell() -> list[Entry]:
    """Busybox, a shell and the common tools in one static program, under all its names."""
    program = shutil.which("busybox")
    if program is None:
        raise Unable("busybox not found: Debian has it in the package busybox-static")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = [Entry(f"bin/{name}", link="busybox", mode=0o777) for name in listed if name != "busybox"]
    return [Entry("bin/busybox", Path(program), mode=0o755), *links]


def busybox() -> Path:
    """Return the image that most tests run their commands in."""
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    return small_image(BUSYBOX, [*shell(), folder("tmp", 0o1777), *ACCOUNTS], config)
