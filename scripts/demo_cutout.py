"""The demonstration's cutout: pyvo finds the SODA service of an image by its DataLink, and cuts the core of M13."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

ID = "ivo://uws-service.example/images?m13"
CIRCLE = (250.4226, 36.4602, 0.01)
"""Right ascension, declination and radius in degrees, ICRS."""


def cutout(url: str, folder: Path, token: str | None = None) -> Path:
    """Save the cutout in a folder and tell what it is; the path of the file."""
    from astropy.io import fits
    from pyvo.dal.adhoc import SODA_SYNC_IVOID, DatalinkResults, SodaQuery
    from pyvo.utils.http import create_session

    session = create_session()
    if token is not None:
        session.headers["Authorization"] = f"Bearer {token}"
    links = DatalinkResults.from_result_url(f"{url}/cutout/links?ID={quote(ID)}", session=session)
    service = links.get_adhocservice_by_ivoid(SODA_SYNC_IVOID)
    query = SodaQuery.from_resource(links.get_first_proc(), service, circle=CIRCLE, session=session)
    path = folder / "m13-core.fits"
    path.write_bytes(query.execute_stream().read())
    with fits.open(path) as found:
        shape = "×".join(str(size) for size in reversed(found[0].data.shape))
        print(f"\nCut out   {shape} pixels around the core of M13, from a sky survey's image: {path}")
    return path
