"""``python -m tests.rig``.

Start, stop, look at and talk to sites; see ``--help`` and README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.rig import build, components, images
from tests.rig.errors import ClusterError
from tests.rig.site import Site


def main(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description="Kubernetes on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start sites, and what is down in running ones")
    up.add_argument("names", nargs="*", metavar="NAME", help="default: a")
    up.add_argument("--kueue", action="store_true", help="with Kueue")
    up.add_argument("--kwok", action="store_true", help="with KWOK, for fake nodes")
    down = commands.add_parser("down", help="stop sites and remove what they kept, but their logs")
    down.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    commands.add_parser("status", help="which sites there are and what runs in them")
    for name, text in (
        ("kubectl", "run kubectl on a site, as administrator"),
        ("enter", "run a command inside a site"),
    ):
        talk = commands.add_parser(name, help=text)
        talk.add_argument("name", metavar="NAME")
        talk.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS")
    for name, text in (("cut", "lose every packet between a site and this machine"), ("mend", "end that")):
        commands.add_parser(name, help=text).add_argument("name", metavar="NAME")
    tools = commands.add_parser("build", help="build programs into the cache, and print where they are")
    tools.add_argument("tools", nargs="*", metavar="TOOL", help=f"default: all of {', '.join(build.TOOLS)}")
    load = commands.add_parser("image", help="make images known to a site")
    load.add_argument("name", metavar="NAME")
    load.add_argument("images", nargs="+", metavar="FILE|service|agent", help="an archive, or one of this checkout's")
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    for name in options.names or ["a"]:
        start = time.monotonic()
        site = Site.up(name, kueue=options.kueue, kwok=options.kwok)
        print(f"Site {name} is up ({time.monotonic() - start:.1f} s): {site.server}")
        print(f"  kubectl    export KUBECONFIG={site.kubeconfig}")
        print(f"  this machine, from its pods: {site.host_address}")
        print(f"  logs       {site.folder / 'logs'}")
    return 0


def _down(options: argparse.Namespace) -> int:
    for name in options.names or Site.names():
        print(f"Site {name}: {'removed' if Site.remove(name) else 'there is none'}")
    return 0


def _status(options: argparse.Namespace) -> int:
    for name in Site.names():
        site = Site.find(name)
        if site is None:
            print(f"Site {name}: broken; `down {name}` cleans up")
            continue
        print(f"Site {name}: {site.server}, cut off: {'yes' if site.is_cut else 'no'}")
        for component in components.ORDER:
            state = "ready" if site.ready(component) else "not ready" if site.alive(component) else "down"
            print(f"  {component:<24} {state:<10} {site.layout.log(component)}")
    return 0


def _kubectl(options: argparse.Namespace) -> int:
    print(_site(options).kubectl(*_rest(options)), end="")
    return 0


def _enter(options: argparse.Namespace) -> int:
    return _site(options).enter(_rest(options) or ["/bin/sh"])


def _cut(options: argparse.Namespace) -> int:
    _site(options).cut()
    return 0


def _mend(options: argparse.Namespace) -> int:
    _site(options).mend()
    return 0


def _image(options: argparse.Namespace) -> int:
    builders = {"service": images.service, "agent": images.agent}
    for image in options.images:
        _site(options).import_image(builders[image]() if image in builders else Path(image))
    print("\n".join(_site(options).images()))
    return 0


def _build(options: argparse.Namespace) -> int:
    unknown = [name for name in options.tools if name not in build.TOOLS]
    if unknown:
        raise ClusterError(f"{', '.join(unknown)}: no such program; there are: {', '.join(build.TOOLS)}")
    for path in build.ensure(*(options.tools or build.TOOLS)).values():
        print(path)
    return 0


def _rest(options: argparse.Namespace) -> list[str]:
    return list(options.rest[1:] if options.rest[:1] == ["--"] else options.rest)


def _site(options: argparse.Namespace) -> Site:
    site = Site.find(options.name)
    if site is None:
        raise ClusterError(f"site {options.name} does not run; `python -m tests.rig up {options.name}` starts it")
    return site


COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "kubectl": _kubectl,
    "enter": _enter,
    "cut": _cut,
    "mend": _mend,
    "build": _build,
    "image": _image,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
