"""The network of one test site: a namespace of its own, joined to this machine by one link that can be cut.

Pods hang on a bridge inside the namespace. Nothing leads from there to anywhere but this machine.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


def run(*command: str, check: bool = True) -> str:
    """Carry a command out; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Network:
    """The addresses of site number ``index`` (0…200), and what is made of them."""

    name: str
    index: int

    @property
    def namespace(self) -> str:
        """The network namespace's name."""
        return f"uwsk-{self.name}"

    @property
    def host_link(self) -> str:
        """The link's end on this machine."""
        return f"uwskh-{self.name}"

    @property
    def site_link(self) -> str:
        """The link's end in the namespace."""
        return f"uwsks-{self.name}"

    @property
    def host_address(self) -> str:
        """This machine, as the site sees it."""
        return f"10.223.{self.index}.1"

    @property
    def address(self) -> str:
        """The site, as this machine sees it."""
        return f"10.223.{self.index}.2"

    @property
    def pods(self) -> str:
        """The pods' addresses."""
        return f"10.224.{self.index}.0/24"

    def enter(self) -> list[str]:
        """What a command line must begin with to run inside; the mounts stay those of this machine."""
        return ["nsenter", f"--net=/var/run/netns/{self.namespace}"]

    def up(self) -> None:
        """Make all of it, in place of what may be left of an earlier one."""
        self.down()
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.host_link, "type", "veth", "peer", "name", self.site_link)
        run("ip", "link", "set", self.site_link, "netns", self.namespace)
        run("ip", "address", "add", f"{self.host_address}/30", "dev", self.host_link)
        run("ip", "link", "set", self.host_link, "up")
        inside = ("ip", "-n", self.namespace)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "address", "add", f"{self.address}/30", "dev", self.site_link)
        run(*inside, "link", "set", self.site_link, "up")
        run(*inside, "route", "add", "default", "via", self.host_address)
        run("ip", "route", "add", self.pods, "via", self.address)
        run(*self.enter(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def cut(self) -> None:
        """Let nothing through, without a word to either side."""
        run("ip", "link", "set", self.host_link, "down")

    def mend(self) -> None:
        """Let everything through again."""
        run("ip", "link", "set", self.host_link, "up")
        run("ip", "route", "replace", self.pods, "via", self.address)

    def down(self) -> None:
        """Remove all of it."""
        run("ip", "link", "delete", self.host_link, check=False)
        run("ip", "netns", "delete", self.namespace, check=False)

    def configuration(self, folder: Path) -> None:
        """Write what the CNI plugins need."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "10-bridge.conflist").write_text(
            f"""{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": "{folder.parent}/cni-addresses",
             "ranges": [[{{"subnet": "{self.pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"""
        )
