"""The way into a site.

Processes are started in its namespaces, and asked there.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from tests.rig.components import Layout
from tests.rig.errors import ClusterError
from tests.rig.processes import Recorded, start_inside

T = TypeVar("T")
FIRST = "first"
CLONE_NEWNET = 0x40000000


class Inside:
    """The namespaces of a site, which its first process holds."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def process(self, name: str) -> Recorded | None:
        """Return a process as it was recorded under a name; it may have ended."""
        return Recorded.read(self.layout.pidfile(name))

    @property
    def first(self) -> Recorded:
        """Return the first process, which runs."""
        first = self.process(FIRST)
        if first is None or not first.alive:
            raise ClusterError(f"site {self.layout.name} does not run")
        return first

    def start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Recorded:
        """Start a process, recorded and logged under a name."""
        return start_inside(self.first, self.layout.pidfile(name), self.layout.log(name), command, env)

    def entering(self, *namespaces: str) -> list[str]:
        """Return the beginning of a command line whose rest is run in some of the namespaces: mount, net, pid."""
        return ["nsenter", f"--target={self.first.pid}", *(f"--{namespace}" for namespace in namespaces), "--"]

    def answers(self, url: str) -> bool:
        """Return whether a server in the site answers with 200."""
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
        handle = os.open(f"/proc/{self.first.pid}/ns/net", os.O_RDONLY)
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
                    reason = os.strerror(ctypes.get_errno())
                    raise ClusterError(f"entering the network of site {self.layout.name}: {reason}")
                results.append(do())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        try:
            thread.start()
            thread.join()
        finally:
            os.close(handle)
        if errors:
            raise errors[0]
        return results[0]
