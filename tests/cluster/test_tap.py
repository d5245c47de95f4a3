"""TAP whose queries run in pods.

STILTS' suite, pyvo, and tables of an operator that the pods mount.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import pyvo
from astropy.table import Table

from tests.cluster.service import NAMESPACE, ClusterServer, settings_of
from tests.rig.site import Site
from tests.server import ROOT
from tests.tap.taplint import check

BRIGHT = "SELECT TOP 5 name, ra, dec, vmag FROM openngc.objects WHERE vmag IS NOT NULL ORDER BY vmag"
MATCH = (
    "SELECT mine.name AS given, o.name FROM TAP_UPLOAD.mine AS mine JOIN openngc.objects AS o"
    " ON 1 = CONTAINS(POINT(o.ra, o.dec), CIRCLE(mine.ra, mine.dec, 0.02)) ORDER BY given"
)
NEARBY = "name,ra,dec\nSirius,101.28715,-16.71611\nWolf 359,164.12027,7.01466\n"


def jobs_made(site: Site) -> int:
    """Count the Jobs ever made for the service."""
    return sum(site.audited("create", namespace=NAMESPACE).values())


def test_taplint(service: ClusterServer, site_a: Site) -> None:
    """Every stage of STILTS' own suite.

    Its asynchronous queries are pods.
    """
    before = jobs_made(site_a)
    check(f"{service.url}/tap")
    assert jobs_made(site_a) > before


def test_pyvo(service: ClusterServer, site_a: Site) -> None:
    """An upload goes to the pod.

    A wrong query is told as it is without a cluster.
    """
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    before = jobs_made(site_a)
    assert len(tap.run_async(BRIGHT)) == 5
    table = Table({"name": ["m31", "m33"], "ra": [10.6847, 23.4621], "dec": [41.2687, 30.6599]})
    assert list(tap.run_async(MATCH, uploads={"mine": table})["name"]) == ["NGC0224", "NGC0598"]
    with pytest.raises(pyvo.dal.DALQueryError, match="column 8"):
        tap.run_async("SELECT nme FROM openngc.objects")
    assert jobs_made(site_a) == before + 3


def test_tables_that_pods_mount(site_a: Site, tmp_path: Path) -> None:
    """A folder of tables at the same path in the pods, as docs/howto/publish-a-catalogue.md has it."""
    catalogues, table = tmp_path / "catalogues", tmp_path / "nearby.csv"
    table.write_text(NEARBY)
    command = [sys.executable, "-m", "uws_service", "catalogue", "add", str(table), "--name", "stars.nearby"]
    subprocess.run([*command, "--folder", str(catalogues)], check=True, capture_output=True, cwd=ROOT, timeout=60)
    catalogues.chmod(0o755)
    mounted = {"name": "tables", "hostPath": {"path": str(catalogues)}, "mountPath": str(catalogues)}
    site = settings_of(site_a, volumes=[mounted])
    server = ClusterServer(tmp_path / "service", [site], site_a.host_address, catalogues=str(catalogues))
    server.start()
    try:
        job = pyvo.dal.TAPService(f"{server.url}/tap").submit_job("SELECT name FROM stars.nearby ORDER BY name")
        job.run().wait(timeout=120)
        job.raise_if_error()
        assert list(job.fetch_result()["name"]) == ["Sirius", "Wolf 359"]
    finally:
        server.stop()
