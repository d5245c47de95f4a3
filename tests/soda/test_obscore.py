"""ObsCore in TAP, with pyvo and STILTS."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from astropy.io import fits

from tests.server import Server
from tests.soda.conftest import DID
from tests.tiers import require
from uws_service.cli import run


@pytest.fixture
def published(server: Server, sky: Path) -> str:
    """Publish the images; return the TAP URL."""
    place = str(server.folder / "data" / "catalogues")
    assert (
        run(["images", "publish", f"{server.url}/images", "--index", str(sky / "images.jsonl"), "--folder", place]) == 0
    )
    return f"{server.url}/tap"


def test_from_a_query_to_pixels(published: str) -> None:
    """A cone finds an image; its DataLink cuts it."""
    from pyvo.dal import TAPService

    query = (
        "SELECT obs_publisher_did, access_url, access_format, s_region FROM ivoa.ObsCore "
        "WHERE 1 = CONTAINS(POINT(s_ra, s_dec), CIRCLE(0, 90, 1)) AND t_exptime > 10 ORDER BY 1"
    )
    rows = TAPService(published).search(query)
    assert list(rows["obs_publisher_did"]) == [f"{DID}?broken", f"{DID}?pole"]
    link = rows[1].getdatalink()
    result = link.get_first_proc().process(circle=(0.0, 90.0, 0.05))
    with fits.open(io.BytesIO(result.read())) as hdus:
        assert hdus[0].data.shape == (12, 12)


def test_stilts_knows_the_table(published: str) -> None:
    """taplint finds the data model (T-003) and all columns."""
    words = [require("stilts"), "taplint", f"tapurl={published}", "stages=TME CAP OBS", "report=EWFS"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert "Errors: 0;" in process.stdout, process.stdout + process.stderr
    assert "ivoa.ObsCore columns: 30/30 required" in process.stdout, process.stdout
