"""Any Kubernetes cluster that a test may use as administrator: one of ours, or one that the user names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.rig import build
from tests.rig.errors import ClusterError
from tests.rig.paths import state_folder


class Cluster:
    """A cluster by its kubeconfig.

    Attributes
    ----------
    kubeconfig
        For the administrator.
    busybox
        The name of an image with a shell and the common tools, which the nodes have or can pull.
    """

    def __init__(self, kubeconfig: Path, busybox: str) -> None:
        self.kubeconfig = kubeconfig
        self.busybox = busybox

    @classmethod
    def named_by_user(cls) -> Cluster | None:
        """Return the cluster that ``KUBECONFIG`` names.

        ``UWS_TEST_BUSYBOX`` says which image its nodes can pull.
        """
        kubeconfig = os.environ.get("KUBECONFIG")
        if not kubeconfig or Path(kubeconfig).absolute().is_relative_to(state_folder()):  # none, or a site of ours
            return None
        return cls(Path(kubeconfig), os.environ.get("UWS_TEST_BUSYBOX") or "busybox:stable")

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl.

        Its output, or an error with what it said.

        Without ``check`` the output of a failed command comes too, followed by what it said.
        """
        command = [kubectl_program(), "--kubeconfig", str(self.kubeconfig), *arguments]
        try:
            completed = subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"kubectl {' '.join(arguments)}: not done in {timeout:g} s") from error
        if check and completed.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {completed.stderr.strip()}")
        return completed.stdout if completed.returncode == 0 else completed.stdout + completed.stderr

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make objects so, as ``kubectl apply`` does."""
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, *arguments: str) -> Any:
        """Return what ``kubectl get`` finds, as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


def kubectl_program() -> str:
    """Return the kubectl that is built here, or the machine's own where nothing can be built."""
    program = None if build.built("kubernetes") or shutil.which("go") else shutil.which("kubectl")
    return program or str(build.ensure("kubernetes")["kubernetes"].parent / "kubectl")
