"""Build the tree, use a pool, soak sites."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.batch import soak
from tests.batch.condor import CondorPool
from tests.batch.service import BatchServer
from tests.batch.slurm import SlurmCluster
from tests.batch.soak import Findings
from tests.batch.tree import build, refresh
from tests.batch.victims import ClusterVictim, PoolVictim, RunnerVictim
from tests.runner.programs import Wire, far_site
from tests.server import ROOT

REPORT = ROOT / "build" / "soak-sites.jsonl"


def main() -> int:
    """Do what the words of the command line say."""
    parser = argparse.ArgumentParser(prog="python -m tests.batch", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("build", help="build the tree, unless it is there, and print its path")
    commands.add_parser("pool", help="run a pool until the end of the input").add_argument("name")
    soaking = commands.add_parser("soak", help=f"kill parts of sites; a line for each goes to {REPORT.name}")
    soaking.add_argument("sites", nargs="*", default=[*SOAKS], choices=[*SOAKS], metavar="|".join(SOAKS))
    soaking.add_argument("--jobs", type=int, default=200)
    soaking.add_argument("--kills", type=int, default=40)
    soaking.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    soaking.add_argument("--cut", type=float, default=60.0, help="seconds of each cut of the network; 0: none")
    options = parser.parse_args()
    if options.command == "pool":
        build()
        with CondorPool(options.name) as pool:
            print(f"collector 127.0.0.1:{pool.port}, tokens {pool.tokens}; end of input stops it", flush=True)
            sys.stdin.read()
        return 0
    if options.command == "soak":
        findings = [soak_site(site, options) for site in options.sites]
        return 0 if all(finding.is_clean for finding in findings) else 1
    print(build())
    return 0


def soak_site(site: str, options: argparse.Namespace) -> Findings:
    """Soak one kind of site.

    Print its line, and append it to the report.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"uws-soak-{site}-"))
    print(f"{site}: seed {options.seed}, log in {folder}", flush=True)
    findings = SOAKS[site](folder, options)
    print(findings.line, *findings.details, sep="\n  ", flush=True)
    findings.append(REPORT)
    if findings.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
    return findings


def _soak_pool(folder: Path, options: argparse.Namespace) -> Findings:
    refresh(build())
    wire = Wire(0)
    with CondorPool("soak") as pool:
        site = pool.settings(agent_url=f"http://127.0.0.1:{wire.port}", lease=90, unknown_after=10, margin=200)
        with BatchServer(folder / "service", pool, site, applications=()) as server:
            wire.target = server.port
            victim = PoolVictim(pool, server, wire if options.cut else None, options.cut)
            return soak.soak(victim, options.seed, options.jobs, options.kills)


def _soak_cluster(folder: Path, options: argparse.Namespace) -> Findings:
    refresh(build())
    wire = Wire(0)
    with SlurmCluster("soak") as cluster:
        rest_wire = Wire(cluster.rest_port)
        ways = {"agent_url": f"http://127.0.0.1:{wire.port}", "url": f"http://127.0.0.1:{rest_wire.port}"}
        site = cluster.settings(**ways, unknown_after=10, margin=200)
        with BatchServer(folder / "service", cluster, site, applications=()) as server:
            wire.target = server.port
            victim = ClusterVictim(cluster, server, (wire, rest_wire) if options.cut else (), options.cut)
            return soak.soak(victim, options.seed, options.jobs, options.kills)


def _soak_runner(folder: Path, options: argparse.Namespace) -> Findings:
    shared = folder / "shared"
    shared.mkdir()
    application = soak.write_descriptor(folder, str(shared))
    with far_site(folder, applications=[application], site={"unknown_after": 10}) as far:
        victim = RunnerVictim(far.server, far.runner, shared, far.wire if options.cut else None, options.cut)
        return soak.soak(victim, options.seed, options.jobs, options.kills)


SOAKS: dict[str, Callable[[Path, argparse.Namespace], Findings]] = {
    "htcondor": _soak_pool,
    "slurm": _soak_cluster,
    "remote": _soak_runner,
}


if __name__ == "__main__":
    sys.exit(main())
