"""SODA over HTTP, by a real service.

Rules S-001…S-007 of SODA 1.0, DataLink 1.1, pyvo, STILTS.
"""

from __future__ import annotations

import csv
import io
import subprocess
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from lxml import etree

from tests.official import validate
from tests.server import Server
from tests.service.client import Uws
from tests.soda.conftest import DID
from tests.tiers import require
from uws_service.soda import obscore
from uws_service.soda.index import Index

C = 299_792_458.0
POLE = f"{DID}?pole"
VOTABLE = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}


def get(soda: Uws, **parameters: Any) -> httpx2.Response:
    return soda.http.get(f"{soda.base}/sync", params=parameters)


def opened(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fits"
    return fits.open(io.BytesIO(answer.content))


def test_a_misspelt_parameter_is_noted(soda: Uws) -> None:
    """All of the image comes, and the answer says why."""
    answer = get(soda, ID=POLE, CIRCEL="0 90 0.01")
    assert answer.headers["x-uws-note"] == "CIRCEL is no parameter here; did you mean CIRCLE?"
    assert "x-uws-note" not in get(soda, ID=POLE, CIRCLE="0 90 0.01", REQUEST="x").headers


@pytest.mark.parametrize("name", ["pole", "meridian"])
def test_cutouts_pixel_by_pixel(soda: Uws, sky: Path, name: str) -> None:
    """Cutouts over HTTP have the pixels of Cutout2D."""
    random = np.random.default_rng(5)
    with fits.open(sky / f"{name}.fits") as original:
        wcs, data = WCS(original[0].header), original[0].data.copy()
        for _ in range(3):
            lon, lat = (
                float(coordinate) for coordinate in wcs.wcs_pix2world(random.uniform(5, 55), random.uniform(5, 45), 0)
            )
            circle = f"{lon % 360} {lat} {random.uniform(0.01, 0.15)}"
            with opened(get(soda, ID=f"{DID}?{name}", CIRCLE=circle)) as hdus:
                x, y = (original[0].header[f"CRPIX{n}"] - hdus[0].header[f"CRPIX{n}"] for n in (1, 2))
                ny, nx = hdus[0].data.shape
                expected = Cutout2D(data, (x + (nx - 1) / 2, y + (ny - 1) / 2), (ny, nx), wcs=wcs)
                np.testing.assert_array_equal(hdus[0].data, expected.data)
                np.testing.assert_allclose(WCS(hdus[0].header).wcs.crpix, expected.wcs.wcs.crpix)


def test_sync_by_post_and_with_names_in_any_case(soda: Uws) -> None:
    """D-015, D-020: the same answer."""
    parameters = {"id": POLE, "cIrClE": "0 90 0.1"}
    assert soda.http.post(f"{soda.base}/sync", data=parameters).content == get(soda, **parameters).content


def test_no_overlap_has_no_content(soda: Uws) -> None:
    """S-005: 204 and no body."""
    for wrong in ({"CIRCLE": "180 -45 1"}, {"POS": "RANGE 10 20 -10 10"}, {"POLYGON": "10 10 12 10 11 12"}):
        answer = get(soda, ID=POLE, **wrong)
        assert (answer.status_code, answer.content) == (204, b"")
    assert get(soda, ID=f"{DID}?cube", BAND="1e-7 2e-7").status_code == 204
    assert get(soda, ID=f"{DID}?cube", POL="XX").status_code == 204


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "UsageError: ID is required"),
        ({"ID": f"{DID}?absent"}, "there is no such image"),
        ({"ID": "../../etc/passwd"}, "there is no such image"),
        ({"ID": POLE, "CIRCLE": "0 90"}, "CIRCLE='0 90' is not allowed; it must be three numbers"),
        ({"ID": POLE, "CIRCLE": "0 90 0"}, "a radius above 0"),
        ({"ID": POLE, "CIRCLE": "0 91 1"}, "latitudes from -90 to 90"),
        ({"ID": POLE, "CIRCLE": "NaN 0 1"}, "finite numbers"),
        ({"ID": POLE, "CIRCLE": "1e999 0 1"}, "too large"),
        ({"ID": POLE, "POLYGON": "0 0 1 1"}, "at least three pairs"),
        ({"ID": POLE, "POS": "BOX 1 2 3 4"}, "CIRCLE, RANGE or POLYGON"),
        ({"ID": POLE, "BAND": "2 1"}, "the smaller one first"),
        ({"ID": POLE, "BAND": "1e-7 2e-7"}, "leave BAND out"),
        ({"ID": POLE, "POL": "Z"}, "POL='Z'"),
    ],
)
def test_errors_of_the_request(soda: Uws, parameters: dict[str, str], message: str) -> None:
    """S-005: 400 with SODA's label.

    The text names parameter, value and what is allowed.
    """
    answer = get(soda, **parameters)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("UsageError: ")
    assert message in answer.text


def test_sync_takes_one_of_each(soda: Uws) -> None:
    """S-003: only POL may have several values."""
    for several in (
        {"CIRCLE": ["0 90 1", "0 89 1"]},
        {"CIRCLE": "0 90 1", "POLYGON": "0 89 120 89 240 89"},
        {"BAND": ["1 2", "3 4"]},
        {"TIME": ["1 2", "3 4"]},
    ):
        answer = get(soda, ID=POLE, **several)
        assert answer.status_code == 400
        assert answer.text.startswith("MultiValuedParamNotSupported: "), answer.text
    assert get(soda, ID=[POLE, f"{DID}?cube"]).text.startswith("MultiValuedParamNotSupported: ")
    with opened(get(soda, ID=f"{DID}?cube", POL=["I", "Q"])) as hdus:
        assert hdus[0].data.shape == (2, 20, 30, 40)


def test_a_broken_image(soda: Uws) -> None:
    """The answer is 422 without a path."""
    answer = get(soda, ID=f"{DID}?broken", CIRCLE="0 90 0.1")
    assert answer.status_code == 422
    assert answer.text.startswith("Error: broken.fits is cut short: it has 8000 of ")
    assert "/" not in answer.text


def test_the_whole_file(soda: Uws, sky: Path) -> None:
    """ID alone."""
    with opened(get(soda, ID=POLE)) as hdus, fits.open(sky / "pole.fits") as original:
        np.testing.assert_array_equal(hdus[0].data, original[0].data)


def test_async_makes_every_combination(soda: Uws) -> None:
    """S-004: two regions and two bands are four results."""
    bands = [f"{C / 1.4052e9} {C / 1.4022e9}", "1e-7 2e-7"]
    job = soda.create({"ID": f"{DID}?cube", "CIRCLE": ["10 20 0.05", "10.1 20 0.05"], "BAND": bands, "PHASE": "RUN"})
    assert soda.wait(job) == "COMPLETED", soda.get(f"{job}/error").text
    document = soda.document(job)
    results = {
        row.get("id"): row.get("{http://www.w3.org/1999/xlink}href")
        for row in document.find("{http://www.ivoa.net/xml/UWS/v1.0}results")
    }
    assert [row for row in results if row.endswith(".fits")] == ["cutout-0001.fits", "cutout-0003.fits"]
    rows = list(csv.DictReader(io.StringIO(soda.get(results["cutouts.csv"]).text)))
    assert [(row["result"], row["region"]) for row in rows] == [
        ("cutout-0001.fits", "CIRCLE 10 20 0.05"),
        ("cutout-0002.txt", "CIRCLE 10 20 0.05"),
        ("cutout-0003.fits", "CIRCLE 10.1 20 0.05"),
        ("cutout-0004.txt", "CIRCLE 10.1 20 0.05"),
    ]
    empty = soda.get(results["cutout-0002.txt"])
    assert empty.headers["content-type"].startswith("text/plain") and empty.text.startswith("Error: ")
    with fits.open(io.BytesIO(soda.get(results["cutout-0003.fits"]).content)) as hdus:
        assert hdus[0].data.shape[:2] == (4, 4)
    assert soda.get(results["cutout-0001.png"]).content.startswith(b"\x89PNG")


def test_async_tells_what_is_wrong(soda: Uws) -> None:
    """Errors are those of the job (D-044)."""
    for wrong, error_text in (
        ({"ID": POLE, "POS": "SQUARE 1 2"}, "POS='SQUARE 1 2'"),
        ({"ID": POLE, "CIRCLE": "1 2"}, "CIRCLE='1 2'"),
        ({"ID": f"{DID}?broken"}, "cut short"),
        ({"ID": f"{DID}?absent"}, "there is no such image"),
    ):
        job = soda.create({**wrong, "PHASE": "RUN"})
        assert soda.wait(job) == "ERROR"
        assert error_text in soda.get(f"{job}/error").text


def test_thousands_of_values(soda: Uws) -> None:
    """Too many cutouts are refused with a clear word."""
    circles = [f"{n / 100} 89 0.1" for n in range(600)]
    job = soda.create({"ID": POLE, "CIRCLE": circles, "PHASE": "RUN"})
    assert soda.wait(job) == "ERROR"
    assert "600 cutouts; a request may have at most 500" in soda.get(f"{job}/error").text


def test_capabilities_name_soda_and_datalink(soda: Uws) -> None:
    """S-001: standardIDs, and everything under one URL."""
    document = etree.fromstring(soda.get(f"{soda.base}/capabilities").content)
    links = {row.get("standardID"): row for row in document}
    for kind in ("sync", "async"):
        interface = links[f"ivo://ivoa.net/std/SODA#{kind}-1.0"].find("interface")
        assert (interface.get("role"), interface.get("version")) == ("std", "1.0")
        assert interface.findtext("accessURL") == f"{soda.base}/{kind}"
        names = {row.findtext("name"): row.findtext("ucd") for row in interface.findall("param")}
        assert {"ID", "CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"} <= set(names)
        assert names["BAND"] == "em.wl;stat.interval"
    assert links["ivo://ivoa.net/std/DataLink#links-1.1"].findtext("interface/accessURL") == f"{soda.base}/links"
    assert soda.get(f"{soda.base}/availability").status_code == 200


def test_links_of_an_image(soda: Uws) -> None:
    """S-006: service descriptors have the image's ranges."""
    answer = soda.http.get(f"{soda.base}/links", params={"ID": [f"{DID}?cube", "ivo://nowhere?x"]})
    assert answer.headers["content-type"] == "application/x-votable+xml;content=datalink"
    validate(answer.content)
    document = etree.fromstring(answer.content)
    rows = [[str(cell.xpath("string()")) for cell in row] for row in document.iterfind(".//v:TR", VOTABLE)]
    assert [(row[0], row[5]) for row in rows] == [
        (f"{DID}?cube", "#this"),
        (f"{DID}?cube", "#cutout"),
        (f"{DID}?cube", "#cutout"),
        ("ivo://nowhere?x", "#this"),
    ]
    assert rows[3][3].startswith("NotFoundFault: ")
    assert soda.http.get(rows[0][1]).status_code == 200
    maximum = document.find(".//v:PARAM[@name='BAND']/v:VALUES/v:MAX", VOTABLE).get("value").split()
    assert [float(number) for number in maximum] == pytest.approx([C / 1.4195e9, C / 1.3995e9])
    options = document.findall(".//v:RESOURCE[@ID='soda-sync-1']//v:PARAM[@name='POL']//v:OPTION", VOTABLE)
    assert [number.get("value") for number in options] == ["I", "Q", "U", "V"]


def test_links_of_nothing_or_too_much(soda: Uws) -> None:
    """No id is an empty table; thousands are refused."""
    assert b"<TR>" not in soda.http.get(f"{soda.base}/links").content
    response = soda.http.post(f"{soda.base}/links", data={"ID": [f"x{n}" for n in range(1005)]})
    assert response.status_code == 400 and "1005" in response.text
    assert b"#cutout" in soda.http.post(f"{soda.base}/links", data={"ID": POLE}).content
    assert soda.http.get(f"{soda.base}/links", params={"RESPONSEFORMAT": "csv"}).status_code == 400
    assert soda.http.get(f"{soda.root}/sleep/links").status_code == 404


def test_texts_of_headers_are_escaped(soda: Uws) -> None:
    """A title from a FITS header can't break a document."""
    document = etree.fromstring(soda.http.get(f"{soda.base}/links", params={"ID": f"{DID}?meridian"}).content)
    assert "<b>&M 1" in str(document.xpath("string()"))


def test_pyvo_finds_and_cuts(soda: Uws) -> None:
    """pyvo gets from a links URL to pixels.

    Its warnings would be errors here.
    """
    from pyvo.dal.adhoc import SODA_SYNC_IVOID, DatalinkResults, SodaQuery

    results = DatalinkResults.from_result_url(f"{soda.base}/links?ID={quote(f'{DID}?cube')}")
    row = results.get_first_proc()
    service = results.get_adhocservice_by_ivoid(SODA_SYNC_IVOID)
    query = SodaQuery.from_resource(row, service, circle=(10.0, 20.0, 0.05), band=(C / 1.4052e9, C / 1.4022e9))
    with fits.open(io.BytesIO(query.execute_stream().read())) as hdus:
        assert hdus[0].data.shape[:2] == (4, 4)
    with fits.open(io.BytesIO(row.process(circle=(10.0, 20.0, 0.05)).read())) as hdus:
        assert hdus[0].data.shape[:2] == (4, 20)
    query = SodaQuery.from_resource(row, service, polygon=(9.95, 19.95, 10.05, 19.95, 10.0, 20.05))
    with fits.open(io.BytesIO(query.execute_stream().read())) as hdus:
        assert hdus[0].data.shape[:2] == (4, 20)


def test_stilts_finds_no_fault_in_the_links(soda: Uws) -> None:
    """datalinklint: no error, no warning."""
    url = f"{soda.base}/links?ID={quote(f'{DID}?cube')}&ID=absent"
    command = [require("stilts"), "datalinklint", f"votable={url}"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert "Errors: 0; Warnings: 0;" in process.stdout, process.stdout + process.stderr


def test_obscore_rows_lead_to_the_links(soda: Uws, sky: Path) -> None:
    """The table is ObsCore 1.1, and its URLs work."""
    entries = Index(str(sky / "images.jsonl")).entries()
    (batch,) = obscore.batches(entries.values(), soda.base)
    assert batch.schema.names == [row.name for row in obscore.TABLE.columns]
    assert {"obs_publisher_did", "access_url", "s_region", "t_min", "em_min", "pol_states"} <= set(batch.schema.names)
    rows = {row["obs_publisher_did"]: row for row in batch.to_pylist()}
    cube = rows[f"{DID}?cube"]
    assert (cube["dataproduct_type"], cube["em_xel"], cube["pol_states"]) == ("cube", 20, "/I/Q/U/V/")
    assert rows[POLE]["s_dec"] == pytest.approx(90) and rows[POLE]["t_exptime"] == 30
    assert soda.http.get(cube["access_url"]).headers["content-type"] == cube["access_format"]


def test_an_index_that_is_not_there(server: Server, collections: Path) -> None:
    """The answer is 503 until the index is there."""
    for resource in ("sync", "links"):
        answer = httpx2.get(f"{server.url}/late/{resource}", params={"ID": POLE}, timeout=180)
        assert answer.status_code == 503 and "retry-after" in answer.headers
        assert "images.jsonl" not in answer.text and str(collections) not in answer.text
    (collections / "late" / "images.jsonl").write_text("")
    assert httpx2.get(f"{server.url}/late/links", params={"ID": POLE}, timeout=180).status_code == 200


def test_who_may_not_is_told_in_the_same_way(server: Server) -> None:
    """S-005: AuthorizationError is text."""
    closed = f"{server.url}/closed"
    response = httpx2.get(f"{closed}/sync", params={"ID": POLE}, headers={"X-User": "somebody"}, timeout=180)
    assert response.status_code == 403
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text.startswith("AuthorizationError: ")
    assert httpx2.get(f"{closed}/links", params={"ID": POLE}, timeout=180).status_code in (401, 403)


def test_the_images_that_ship(server: Server) -> None:
    """The application `cutout` works on its examples."""
    with Uws(server.url, "cutout") as cutout, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for example in cutout.http.get(cutout.base, headers={"accept": "application/json"}).json()["parameters"]:
            assert example["name"] in ("ID", "CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL")
        circle = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.01"}
        with opened(get(cutout, **circle)) as hdus:
            assert hdus[0].data.shape == (73, 74)
        page = cutout.http.get(f"{cutout.base}/examples").text
        assert "M13" in page
