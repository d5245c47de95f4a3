"""Faults of a collection, over HTTP.

Each has SODA's label, at once and in jobs, and none is a 500.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.server import Server
from tests.service.client import Uws
from tests.soda import kinds, skies
from tests.soda.conftest import DID
from tests.soda.servers import Files
from uws_service.cli import run


def _replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new.ljust(len(old))[: len(old)]))

    return spoil


def _without(name: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with fits.open(path) as hdus:
            hdus_left = fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != name])
        hdus_left.writeto(path, overwrite=True)

    return spoil


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    # name: kind of file, what happens to it after it was described, what is told
    "short": ("plate", lambda path: path.write_bytes(path.read_bytes()[:9000]), "cut short"),
    "table-short": ("tabular", lambda path: path.write_bytes(path.read_bytes()[:-2880]), "can't be read"),
    "beams-short": ("beams", lambda path: path.write_bytes(path.read_bytes()[:-2880]), "cut short"),
    "gone": ("plate", lambda path: path.unlink(), "No such file"),
    "folder": ("plate", _folder, "can't be read"),
    "empty": ("plate", lambda path: path.write_bytes(b""), "not a FITS file"),
    "text": ("plate", lambda path: path.write_text("<html>404</html>"), "not a FITS file"),
    "noise": ("plate", lambda path: path.write_bytes(np.random.default_rng(1).bytes(20_000)), "not a FITS file"),
    "gzipped": ("plate", lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "compressed as a whole"),
    "tableless": ("tabular", _without("WCS-TABLE"), "WCS-TABLE"),
    "undistorted": ("distorted", _without("WCSDVARR"), "WCSDVARR"),
    "projection": ("polynomial", _replace(b"RA---TAN-SIP", b"RA---XYZ-SIP"), "can't be read"),
    "flat": ("polynomial", _replace(b"'RA---TAN-SIP'", b"'LINEAR'"), "Unmatched celestial axes"),
    "scale": ("polynomial", _replace(b"CDELT1  =                -0.01", b"CDELT1  =                  0.0"), "scale"),
    "place": ("beams", _replace(b"CRPIX1  =                 30.5", b"CRPIX1  = 'centre'"), "CRPIX1"),
    "size": (
        "beams",
        _replace(b"NAXIS1  =                   60", b"NAXIS1  =                  -60"),
        "a negative size",
    ),
    "bits": ("beams", _replace(b"BITPIX  =                  -32", b"BITPIX  =                  -33"), "BITPIX = -33"),
    "velocity": ("beams", _replace(b"'FREQ    '", b"'VELO-XYZ'"), "velocity"),
    "tiles": ("compressed", _replace(b"'RICE_1  '", b"'RICE_9  '"), "tiles"),
}


@pytest.fixture(scope="module")
def collection(collections: Path) -> Path:
    """Return files that were spoiled after they were described."""
    folder = collections / "faults"
    for name, kind in {"good": "beams", **{name: kind for name, (kind, _, _) in SPOILED.items()}}.items():
        kinds.ALL[kind]().writeto(folder / f"{name}.fits", output_verify="silentfix")
    assert run(["images", "add", str(folder), "--index", str(folder / "images.jsonl"), "--did", DID]) == 0
    for name, (_, spoil, _) in SPOILED.items():
        spoil(folder / f"{name}.fits")
    return folder


@pytest.fixture
def soda(collection: Path, server: Server) -> Iterator[Uws]:
    with Uws(server.url, "faults") as client:
        yield client


@pytest.mark.parametrize("name", ["short", "gone", "text", "tableless", "place", "bits", "velocity"])
def test_a_file_that_can_not_be_cut(soda: Uws, name: str) -> None:
    """The answer is 422 with a line for people.

    It names the file and what is wrong, but no path of the machine.
    """
    parameters = {"ID": f"{DID}?{name}", "CIRCLE": "10 20 0.1", "BAND": "0.2120 0.2130"}
    if name in ("short", "gone", "text"):
        del parameters["BAND"]
    answer = soda.http.get(f"{soda.base}/sync", params=parameters)
    assert answer.status_code == 422, answer.content[:500]
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("Error: ") and f"{name}.fits" in answer.text
    assert SPOILED[name][2] in answer.text
    assert "Traceback" not in answer.text and str(Path.cwd()) not in answer.text


def test_jobs_tell_the_same(soda: Uws) -> None:
    """A broken image ends its job in ERROR.

    Among good ones it is an error in its place.
    """
    job = soda.create({"ID": f"{DID}?gone", "CIRCLE": "10 20 0.1", "PHASE": "RUN"})
    assert soda.wait(job) == "ERROR"
    assert "gone.fits can't be read: No such file" in soda.get(f"{job}/error").text
    ids = [f"{DID}?{name}" for name in ("good", *SPOILED)]
    job = soda.create({"ID": ids, "CIRCLE": "10 20 0.1", "PHASE": "RUN"})
    assert soda.wait(job) == "COMPLETED", soda.get(f"{job}/error").text
    rows = {
        row["ID"].partition("?")[2]: row
        for row in csv.DictReader(soda.get(f"{job}/results/cutouts.csv").text.splitlines())
    }
    assert rows["good"]["result"] == "cutout-0001.fits"
    for name, (_, _, word) in SPOILED.items():
        if name != "velocity":  # that axis is not needed here
            assert rows[name]["result"].endswith(".txt")
            assert word in rows[name]["message"] and f"{name}.fits" in rows[name]["message"], rows[name]


def test_a_store_that_does_not_answer(server: Server, collections: Path, tmp_path: Path) -> None:
    """The answer is 503 for what passes, else 422."""
    skies.write(tmp_path / "a.fits", skies.numbered(500, 600), skies.header(1, 2, size=(600, 500)))
    index = collections / "store" / "images.jsonl"
    good, without_ranges = Files(tmp_path), Files(tmp_path, ranges=False)
    try:
        assert run(["images", "add", f"{good.url}/a.fits", "--index", str(index), "--did", DID]) == 0
        entry = json.loads(index.read_text())
        without_parts = {**entry, "id": f"{DID}?poor", "source": f"{without_ranges.url}/a.fits"}
        moved = {**entry, "id": f"{DID}?moved", "source": f"{good.url}/b.fits"}
        index.write_text("".join(json.dumps(line) + "\n" for line in (entry, without_parts, moved)))
        with Uws(server.url, "store") as soda:
            for name, status, word in (("a", 200, ""), ("poor", 422, "Range"), ("moved", 422, "not where the index")):
                answer = soda.http.get(f"{soda.base}/sync", params={"ID": f"{DID}?{name}", "CIRCLE": "1 2 0.1"})
                assert answer.status_code == status, answer.text
                assert not word or word in answer.text
            good.stop()
            answer = soda.http.get(f"{soda.base}/sync", params={"ID": f"{DID}?a", "CIRCLE": "1 2 0.1"})
            assert answer.status_code == 503 and "retry-after" in answer.headers
            assert answer.text.startswith("ServiceUnavailable: a.fits can't be read")
            assert "127.0.0.1" not in answer.text
    finally:
        good.stop()
        without_ranges.stop()


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "\xff"}',
        b"[1]",
        b"not JSON",
        b'{"id": "a", "source": "a.fits", "title": 5, "size": 1, "circle": [0, 0, 1]}',
        b'{"id": "a", "source": "a.fits", "title": "t", "size": 1, "circle": [0, 0, 1], "band": [NaN, 1]}',
        b'{"id": "a", "source": "a.fits", "title": "t", "size": 1, "circle": [0, 0, 1], "pol": [1]}',
        b'{"id": "a", "source": "a.fits", "title": "t", "size": 1, "circle": [0, 0, 1], "scale": "x"}',
        b'{"id": "a", "source": "a.fits", "title": "t", "size": 1, "circle": [0, 0, 1], "axes": ["x"]}',
    ],
)
def test_an_index_that_is_spoiled(soda: Uws, collection: Path, line: bytes) -> None:
    """The answer is 503 until the index is mended."""
    index = collection / "images.jsonl"
    content = index.read_bytes()
    try:
        index.write_bytes(content + line + b"\n")
        for resource in ("sync", "links"):
            answer = soda.http.get(f"{soda.base}/{resource}", params={"ID": f"{DID}?gone"})
            assert answer.status_code == 503, answer.text
            assert str(collection) not in answer.text
    finally:
        index.write_bytes(content)
    assert soda.http.get(f"{soda.base}/links", params={"ID": f"{DID}?gone"}).status_code == 200


def test_a_package_with_no_name(soda: Uws, collection: Path) -> None:
    """Only the image without a package is absent."""
    index = collection / "images.jsonl"
    content = index.read_text()
    line = json.loads(content.splitlines()[0])
    try:
        extra = [json.dumps({**line, "id": f"p{n}", "source": f"package://{n}"}) for n in ("", "..", "a b/c")]
        index.write_text(content + "\n".join(extra) + "\n")
        assert soda.http.get(f"{soda.base}/links", params={"ID": f"{DID}?gone"}).status_code == 200
        assert soda.http.get(f"{soda.base}/sync", params={"ID": "p.."}).status_code == 400
    finally:
        index.write_text(content)
