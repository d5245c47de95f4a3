"""``python -m tests.cluster``: bring test clusters up and take them away."""

from __future__ import annotations

import argparse
import sys

from tests.cluster import images
from tests.cluster.building import TOOLS, built
from tests.cluster.paths import STATE
from tests.cluster.site import ORDER, Site, _index


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring clusters up, with the service's image")
    down = commands.add_parser("down", help="take clusters away (all, if none is named)")
    for one in (up, down):
        one.add_argument("names", nargs="*", help="names of clusters (default of `up`: a)")
    commands.add_parser("status", help="what runs")
    build = commands.add_parser("build", help="build programs into the cache")
    build.add_argument("tools", nargs="*", choices=[*TOOLS, []], help="which (default: all)")
    kubectl = commands.add_parser("kubectl", help="kubectl as administrator of a cluster")
    kubectl.add_argument("name")
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    match given.command:
        case "up":
            for name in given.names or ["a"]:
                site = Site.up(name)
                site.import_image(images.service())
                print(f"KUBECONFIG={site.kubeconfig}")
        case "down":
            for name in given.names or sorted(file.parent.name for file in STATE.glob("*/index")):
                Site(name, _index(name)).down()
                print(f"site {name} is gone")
        case "status":
            for file in sorted(STATE.glob("*/index")):
                site = Site(file.parent.name, int(file.read_text()))
                states = ", ".join(f"{one} {'up' if site.alive(one) else 'DOWN'}" for one in ORDER)
                print(f"{site.name}: {site.url} ({states})")
        case "build":
            for tool in given.tools or TOOLS:
                print(built(tool))
        case "kubectl":
            found = Site.find(given.name)
            if found is None:
                print(f"site {given.name} does not run", file=sys.stderr)
                return 1
            print(found.kubectl(*given.arguments), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
