"""The network of a site.

A namespace of its own, joined to this machine by one virtual cable (veth).

Each site gets a block of private addresses that nothing on this machine uses (``Block``). The first four are those of
the cable, this machine at one end and the site at the other; the upper half are pods'. A site has no route beyond this
machine, and packets for its block never leave it either. ``cut`` makes both ends of the cable lose every packet in
silence, as a broken line far away does: nobody is told, connections stay open and nothing arrives.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.rig.errors import ClusterError

# Blocks are taken from here, unless the environment names another network.
NETWORK = "10.213.0.0/16"
PREFIX = 22

# Inside a site only: no packet with such an address leaves it.
SERVICES = ipaddress.IPv4Network("10.96.0.0/16")
KUBERNETES_SERVICE = SERVICES[1]


@dataclass(frozen=True)
class Block:
    """The addresses of one site and the names that follow from them."""

    index: int
    network: ipaddress.IPv4Network

    @property
    def cable(self) -> ipaddress.IPv4Network:
        """Return the addresses of the cable's two ends."""
        return ipaddress.IPv4Network((self.network.network_address, 30))

    @property
    def host(self) -> str:
        """Return this machine's end.

        Where a site's pods reach servers that run here.
        """
        return str(self.cable[1])

    @property
    def site(self) -> str:
        """Return the site's end: the API server's address."""
        return str(self.cable[2])

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """Return the pods' addresses."""
        return list(self.network.subnets(1))[1]


def run(*command: str, input: str | None = None, check: bool = True) -> str:
    """Run a short command.

    Its output, or an error with what it said.
    """
    completed = subprocess.run(command, input=input, capture_output=True, text=True, timeout=30)
    if check and completed.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {completed.stderr.strip() or completed.stdout.strip()}")
    return completed.stdout


def used() -> Iterator[ipaddress.IPv4Network]:
    """Yield every network that this machine has an address in or a route to."""
    for interface in json.loads(run("ip", "-j", "-4", "address")):
        for address in interface["addr_info"]:
            yield ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
    for route in json.loads(run("ip", "-j", "-4", "route", "show", "table", "all")):
        if route["dst"] != "default":
            yield ipaddress.IPv4Network(route["dst"])


def free_block() -> Block:
    """Return the first block that nothing on this machine overlaps; the caller holds the lock on blocks."""
    range_ = ipaddress.IPv4Network(os.environ.get("UWS_CLUSTER_NETWORK") or NETWORK)
    if not range_.is_private or range_.prefixlen > PREFIX:
        raise ClusterError(f"UWS_CLUSTER_NETWORK is {range_}: a private network of at least /{PREFIX} is needed")
    used_networks = list(used())
    for index, network in enumerate(range_.subnets(new_prefix=PREFIX)):
        if not any(network.overlaps(used_network) for used_network in used_networks):
            return Block(index, network)
    raise ClusterError(f"no free block of addresses in {range_}; UWS_CLUSTER_NETWORK=… names another network")


class Cable:
    """The cable between this machine and the site whose first process is ``pid``."""

    def __init__(self, name: str, block: Block, pid: int) -> None:
        self.name = name
        self.block = block
        self._namespaces = ("nsenter", f"--net=/proc/{pid}/ns/net", "--")
        self._pid = pid

    def lay(self) -> None:
        """Make both ends, with their addresses and routes."""
        block, name = self.block, self.name
        macs = [f"02:55:57:53:{block.index:02x}:{end:02x}" for end in (1, 2)]
        # Neighbours are fixed: a cut then loses packets and tells nobody, as behind a router of another network.
        self._batch(
            f"link add {name} address {macs[0]} type veth peer name eth0 address {macs[1]} netns {self._pid}",
            f"link set {name} addrgenmode none",
            f"address add {block.host}/30 dev {name}",
            f"link set {name} up",
            f"neighbour replace {block.site} lladdr {macs[1]} dev {name} nud permanent",
            f"route add {block.pods} via {block.site} dev {name}",
        )
        self._batch(
            "link set lo up",
            "link set eth0 addrgenmode none",
            f"address add {block.site}/30 dev eth0",
            "link set eth0 up",
            f"neighbour replace {block.host} lladdr {macs[0]} dev eth0 nud permanent",
            # In place of kube-proxy: the one Service that pods need, on the API server's own port.
            f"address add {KUBERNETES_SERVICE}/32 dev lo",
            in_namespace=True,
        )
        run(*self._namespaces, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _batch(self, *lines: str, in_namespace: bool = False) -> None:
        run(*(self._namespaces if in_namespace else ()), "ip", "-batch", "-", input="\n".join(lines) + "\n")

    def cut(self) -> None:
        """Lose every packet, both ways."""
        run("tc", "qdisc", "replace", "dev", self.name, "root", "blackhole")
        run(*self._namespaces, "tc", "qdisc", "replace", "dev", "eth0", "root", "blackhole")

    def mend(self) -> None:
        """Let packets through again."""
        # Where nothing is cut there is nothing to delete, which is no error.
        run(*self._namespaces, "tc", "qdisc", "delete", "dev", "eth0", "root", check=False)
        run("tc", "qdisc", "delete", "dev", self.name, "root", check=False)
        if self.is_cut:
            raise ClusterError(f"{self.name} is still cut")

    @property
    def is_cut(self) -> bool:
        """Return whether the cable is cut at this machine's end."""
        return any(
            load["kind"] == "blackhole" for load in json.loads(run("tc", "-j", "qdisc", "show", "dev", self.name))
        )


def fence(block: Block) -> None:
    """Never let a packet for a block leave this machine, also while the site is not there."""
    run("ip", "route", "replace", "unreachable", str(block.network), "metric", "4000")


def unfence(block: Block) -> None:
    """Give a block back.

    What is not there is no error.
    """
    run("ip", "route", "delete", "unreachable", str(block.network), "metric", "4000", check=False)


def parse(text: str) -> ipaddress.IPv4Network:
    """Return a network as it was recorded."""
    return ipaddress.IPv4Network(text)
